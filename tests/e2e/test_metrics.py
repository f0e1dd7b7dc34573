"""What Airflow's own StatsD client sends of us, heard by a real socket."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.house import Builder
from workbench.processes import Processes, wait_until


class StatsDServer:
    """Listens on a UDP port and adds up what comes (https://github.com/statsd/statsd/blob/master/docs)."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self.counters: Counter[str] = Counter()
        self.values: dict[str, list[float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                packet = self._socket.recv(65535).decode()
            except TimeoutError:
                continue
            for line in packet.splitlines():
                name, value, kind = re.fullmatch(r"([^:]+):([^|]+)\|(\w+).*", line).groups()  # type: ignore[union-attr]
                if kind == "c":
                    self.counters[name] += int(value)
                else:
                    self.values.setdefault(name, []).append(float(value))


@pytest.fixture
def statsd() -> Iterator[StatsDServer]:
    server = StatsDServer()
    yield server
    server.close()


def test_what_happens_is_measured(builder: Builder, processes: Processes, statsd: StatsDServer) -> None:
    """Two processes of ours, with nothing but Airflow's own options: requests, dispatching, the inbox."""
    options = {
        "metrics.statsd_on": "True",
        "metrics.statsd_host": "127.0.0.1",
        "metrics.statsd_port": str(statsd.port),
        "metrics.statsd_prefix": "af",
    }
    house = builder.build(processes, options=options)
    orders = {"name": "orders", "state": "published", "dags": ["one"]}
    house.apply({**orders, "deduplication": {"parameters": ["body.id"]}})
    house.serve()
    statuses = [house.post("orders", body).status_code for body in ({"id": 1}, {"id": 1}, b"{", {"id": 2})]
    assert statuses == [200, 204, 400, 200]
    house.dispatch()
    wait_until(lambda: house.waiting() == 0, seconds=60, what="both to be dispatched")
    expected = {
        "af.incoming.received": 4,
        "af.incoming.accepted": 2,
        "af.incoming.duplicate": 1,
        "af.incoming.rejected.malformed_json": 1,
        "af.incoming.dispatched": 2,
    }

    def came() -> bool:
        return all(statsd.counters[name] == number for name, number in expected.items()) and {
            "af.incoming.inbox.waiting",
            "af.incoming.silence.orders",
        } <= set(statsd.values)

    wait_until(came, seconds=30, what=f"all metrics; so far {statsd.counters}")
    assert len(statsd.values["af.incoming.accept_time"]) == 3
    assert len(statsd.values["af.incoming.dispatch_lag"]) == 2
    assert all(0 < milliseconds < 60_000 for milliseconds in statsd.values["af.incoming.dispatch_lag"])
