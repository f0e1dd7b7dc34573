"""What Airflow's own StatsD and OpenTelemetry clients send of us, heard by real servers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from airflow_incoming.bootstrap import utcnow
from airflow_incoming.db.engine import make_engine
from airflow_incoming.services.listen import Listening
from airflow_incoming.services.metrics import NAMES
from airflow_incoming.services.rights import Trusted
from tests.e2e.collectors import OpenTelemetryCollector, StatsDServer
from tests.house import Builder, House
from workbench.processes import Processes, wait_until
from workbench.steps import Failed

DEDUPLICATION = {"parameters": ["body.id"]}
INTEGRATIONS = [
    {"name": "orders", "state": "published", "dags": ["one"], "deduplication": DEDUPLICATION},
    {"name": "later", "state": "published", "dags": ["not_there_yet"]},
    {"name": "strict", "state": "published", "dags": ["strict"]},
    {"name": "asleep", "state": "suspended", "dags": ["one"]},
    {"name": "draft", "dags": ["one"]},
]
#: What :func:`happen` makes of each counter.
COUNTED = {
    "received": 9,
    "accepted": 5,
    "duplicate": 1,
    "captured": 1,
    "rejected.malformed_json": 1,
    "rejected.not_found": 1,
    "token_rejected.unauthorized": 1,
    "dispatched": 2,
    "failed": 1,
    "dead": 1,
}


@pytest.fixture
def statsd() -> Iterator[StatsDServer]:
    server = StatsDServer()
    yield server
    server.close()


@pytest.fixture
def collector() -> Iterator[OpenTelemetryCollector]:
    collector = OpenTelemetryCollector()
    yield collector
    collector.close()


def happen(house: House) -> None:
    """Let everything happen once that is counted, in two processes of ours."""
    base = house.receive[0]
    listen(house, "draft")
    asked = {"orders": ({"id": 1}, {"id": 1}, b"{", {"id": 2}), "draft": ({},)}
    asked |= {"later": ({},), "strict": ({"order": {"id": "none"}},), "asleep": ({},)}
    statuses = [house.post(name, body).status_code for name, bodies in asked.items() for body in bodies]
    assert statuses == [200, 204, 400, 200, 200, 200, 200, 200]
    assert httpx.post(f"{base}/{'a' * 26}", json={}).status_code == 404
    assert httpx.post(f"{base}/auth/token", json={"apiKey": "inc_wrong"}).status_code == 401


def listen(house: House, name: str) -> None:
    """Retrieve data of a draft, and wait until the receiver knows."""
    engine = make_engine(house.airflow.database)
    try:
        record = Listening(engine, clock=utcnow).start(name, by=Trusted("test"))
        wait_until(lambda: utcnow() > record.ready_at, seconds=10, what="the receiver to listen")
    finally:
        engine.dispose()


def normal(name: str) -> str:
    """Return a name as it is documented."""
    name = name.removeprefix("af.")
    name = re.sub(r"^(incoming\.(?:token_)?rejected)\..+", r"\1.<code>", name)
    return re.sub(r"^(incoming\.silence)\..+", r"\1.<integration>", name)


@pytest.fixture(params=["statsd", "collector"])
def server(request: pytest.FixtureRequest) -> StatsDServer | OpenTelemetryCollector:
    found: StatsDServer | OpenTelemetryCollector = request.getfixturevalue(request.param)
    return found


def test_what_is_documented_is_sent(
    builder: Builder, processes: Processes, server: StatsDServer | OpenTelemetryCollector
) -> None:
    """Every metric, under its name, with nothing but Airflow's own options; and none besides."""
    house = builder.build(processes)
    house.apply(*INTEGRATIONS)
    house.serve(env=server.env)
    happen(house)
    house.dispatch(env=server.env)
    expected = {f"af.incoming.{name}": number for name, number in COUNTED.items()}

    def ours() -> dict[str, float]:
        found = {name: number for name, number in server.counters().items() if "incoming" in name}
        # It is tried again and again.
        return found | {"af.incoming.failed": min(found.get("af.incoming.failed", 0), 1)}

    def names() -> set[str]:
        return {normal(name) for name in {*server.counters(), *server.measured()} if "incoming" in name}

    def came() -> bool:
        return ours() == expected and names() >= set(NAMES)

    with suppress(Failed):
        wait_until(came, seconds=45, what="all metrics")
    assert ours() == expected
    assert names() == set(NAMES)
    silent = {name.rpartition(".")[2] for name in server.measured() if ".silence." in name}
    assert silent == {"orders", "later", "strict"}, "published, with events or without"
    if isinstance(server, StatsDServer):
        values = {name.removeprefix("af.incoming."): found for name, found in server.values.items()}
        assert len(values["accept_time"]) == 6
        assert len(values["dispatch_lag"]) == 2
        assert all(0 < milliseconds < 120_000 for milliseconds in values["dispatch_lag"])
        assert (values["inbox.held"][-1], values["inbox.dead"][-1]) == (1, 1)
        assert min(values["inbox.waiting"] + values["inbox.oldest"]) >= 0
    else:
        tagged = server.counters(integration="orders")
        assert tagged["af.incoming.received"] == 4
        assert "af.incoming.dispatched" not in tagged
