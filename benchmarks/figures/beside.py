"""What one kind of work does to another in the same process."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import quantiles

from benchmarks.bodies import pieces
from benchmarks.figures.bench import Bench
from benchmarks.scenarios import MB
from benchmarks.servers import Server
from workbench.processes import fetch
from workbench.steps import step

#: Seconds between two looks at Airflow's health at most, and never twice the same: regular ones would fall in
#: step with batches, and see the same part of each.
PAUSE = 0.1


def mixed(bench: Bench) -> None:
    """Milliseconds that small requests take: alone, and while four connections send heavy bodies."""
    contender = bench.contenders.get("serve")
    small, large = bench.loader("small"), bench.loader("large")
    body = contender.body(1000)
    heavy = {"alone": b"", "beside_1mb": contender.body(MB), "beside_9900_objects": pieces(9900)}
    for name, other in heavy.items():
        with (
            step(f"Small requests {name.replace('_', ' ')}") as doing,
            contender.server.turn(),
            ThreadPoolExecutor(1) as pool,
        ):
            beside = None
            if other:
                beside = pool.submit(large.run, contender.url, other, kind="half", connections=4, seconds=6)
                time.sleep(1)
            load = small.run(contender.url, body, kind="new", connections=4, seconds=4)
            bench.figures.update({f"small_{name}_p50_ms": load.p50, f"small_{name}_p99_ms": load.p99})
            if beside is not None:
                bench.figures[f"{name}_rate"] = beside.result().rate
            doing.note = f"p50 {load.p50:.1f}, p99 {load.p99:.0f} ms"


def health(bench: Bench) -> None:
    """Milliseconds of Airflow's own health page: idle, and while the api-server drains 10 000 events."""
    contender = bench.contenders.get("dispatching")
    server, events = contender.server, 2_000 if bench.quick else 10_000
    assert server.airflow is not None
    url = f"{server.airflow.url}/api/v2/monitor/health"
    with step(f"Airflow's health while {events} events are drained") as doing:
        with server.turn():
            time.sleep(2)
            times = {"idle": _look(url, seconds=10)}
        bench.ground.run_inside(server.airflow, "store", "orders", str(events))
        began = time.monotonic()
        with server.turn(), _looking(url) as times["draining"]:
            while _waiting(bench, server):
                time.sleep(0.5)
        seconds = time.monotonic() - began
        for name, found in times.items():
            cuts = quantiles(found, n=100)
            bench.figures.update({f"health_{name}_p50_ms": cuts[49], f"health_{name}_p95_ms": cuts[94]})
        bench.figures["health_drained_per_s"] = events / seconds
        doing.note = " and ".join(f"p50 {quantiles(found, n=2)[0]:.1f} ms" for found in times.values())


def _waiting(bench: Bench, server: Server) -> int:
    statement = "select count(*) from incoming_event where due_at is not null"
    return int(bench.ground.postgres.sql(statement, server.database.rpartition("/")[2]))


def _look(url: str, *, seconds: float) -> list[float]:
    with _looking(url) as times:
        time.sleep(seconds)
    return times


@contextmanager
def _looking(url: str) -> Iterator[list[float]]:
    """Ask for a URL again and again, and note how many milliseconds each answer took."""
    times: list[float] = []
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(random.uniform(0, PAUSE)):
            began = time.perf_counter()
            status, _, _ = fetch(url)
            assert status == 200, status
            times.append((time.perf_counter() - began) * 1000)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield times
    finally:
        stopping.set()
        thread.join(15)
