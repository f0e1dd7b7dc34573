"""Nothing that was answered is lost, nothing runs twice: real processes, real faults.

``scripts/test faults`` plays a selection, ``scripts/faults`` all.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.faults import (
    faults_of_airflow,
    faults_of_consumers,
    faults_of_machines,
    faults_of_postgres,
    faults_of_redis,
)
from tests.faults.catalogue import Fault, all_of
from tests.faults.checker import Verdict
from tests.faults.conftest import EVERYTHING
from tests.faults.killer import POINTS
from tests.faults.limits import RESTARTING, too_slow
from tests.faults.stage import CONSUMERS, Stage
from workbench.processes import wait_until

Judged = Callable[[str], Verdict]

FAULTS = all_of(
    faults_of_machines, faults_of_redis, faults_of_postgres, faults_of_airflow, faults_of_consumers
)
PLAYED = [fault for fault in FAULTS if EVERYTHING or fault.short]


def points_of(step: str) -> list[str]:
    """Return where to kill in a step."""
    points = {name: point for name, point in POINTS.items() if name.startswith(step)}
    return [name for name, point in points.items() if EVERYTHING or point.short]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("fault", "stage"),
    [pytest.param(f, "sqlite" if f.sqlite else "postgresql", id=f.name) for f in PLAYED],
    indirect=["stage"],
)
def test_fault(fault: Fault, stage: Stage, judged: Judged) -> None:
    """What was answered 200 or 204 ran once, what was not was settled by a retry, and nothing was slow."""
    fault.play(stage)
    verdict = judged(fault.name)
    assert verdict.broken == []
    assert too_slow(verdict, stage.looks, fault.limits) == []
    assert verdict.answers[200] > 20


@pytest.mark.parametrize("point", points_of("intake"))
def test_a_receiver_killed_at_a_point(point: str, stage: Stage, judged: Judged) -> None:
    """Senders whose connection broke send again; each order runs once."""
    stage.open()
    victim = stage.serve(die_at=(point, random.randint(2, 30)))
    with stage.load():
        wait_until(lambda: not victim.alive, seconds=30, what="the receiver to die", every=0.02)
        victim.start(die_at=None)
    verdict = judged(f"killed at {point}")
    assert verdict.broken == []
    assert verdict.answers[0] > 0
    assert too_slow(verdict, stage.looks, RESTARTING) == []


@pytest.mark.parametrize("point", points_of("dispatch"))
def test_a_dispatcher_killed_at_a_point(point: str, stage: Stage, judged: Judged) -> None:
    """Whatever it had not committed is dispatched by the next one; what it had is not done again."""
    stage.open(dispatch=False)
    victim = stage.dispatch(die_at=(point, 2))
    with stage.load():
        wait_until(lambda: not victim.alive, seconds=30, what="the dispatcher to die", every=0.02)
        victim.start(die_at=None)
    verdict = judged(f"killed at {point}")
    assert verdict.broken == []
    assert too_slow(verdict, stage.looks, RESTARTING) == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", points_of("consumers"))
def test_a_dispatcher_killed_where_assets_start_dags(point: str, stage: Stage, judged: Judged) -> None:
    """Each event is in exactly one run of the DAG that its asset starts, a watcher's as well."""
    stage.with_consumers()
    stage.open(api_server=False, dispatch=False)
    victim = stage.dispatch(die_at=(point, 2))
    with stage.load(integrations=CONSUMERS):
        wait_until(lambda: not victim.alive, seconds=60, what="the dispatcher to die", every=0.02)
        victim.start(die_at=None)
    verdict = judged(f"killed at {point}")
    assert verdict.broken == []
    assert verdict.repeated == []


def test_hundred_identical_requests_at_once_on_four_processes(stage: Stage) -> None:
    """One 200, 99 × 204, one run for each DAG."""
    stage.open()
    stage.serve()
    stage.serve()
    stage.wait_for_receivers()
    order = {"order": {"id": str(uuid.uuid4())}}
    barrier = threading.Barrier(100)

    def post(number: int) -> int:
        barrier.wait(60)
        return stage.house.post("orders", order, receiver=number % 4).status_code

    with ThreadPoolExecutor(100) as pool:
        assert Counter(pool.map(post, range(100))) == {200: 1, 204: 99}
    stage.settle()
    assert sorted(dag for dag, _, _ in stage.house.runs()) == ["one", "two"]


def test_senders_and_balancers_are_told(stage: Stage) -> None:
    """Without database: 503, when to come back, and an unhealthy health. Without Redis: degraded."""
    stage.serve()
    stage.wait_for_receivers()

    def health() -> tuple[int, Any]:
        answer = httpx.get(f"{stage.house.receive[0]}/health", timeout=10)
        return answer.status_code, answer.json()

    def redis() -> Any:
        return health()[1]["redis"]["status"]

    wait_until(lambda: redis() == "up", seconds=10, what="Redis to be up")
    stage.redis_client.config_set("maxmemory", "1")
    wait_until(lambda: redis() == "down", seconds=10, what="the health to tell that Redis is full")
    stage.redis.kill()
    wait_until(lambda: redis() == "down", seconds=10, what="the health to tell that Redis is gone")
    assert health()[0] == 200
    stage.postgres.stop()
    refused = stage.house.post("orders", {"order": {"id": "during"}})
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["content-type"] == "application/problem+json"
    wait_until(lambda: health()[0] == 503, seconds=10, what="the health to tell that the database is gone")
