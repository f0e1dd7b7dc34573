"""Nothing that was answered is lost, nothing runs twice: real processes, real faults."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.faults.killer import POINTS
from tests.faults.ledger import Sender, check
from tests.house import Builder, House, answers
from workbench.postgres import PostgresServer
from workbench.processes import Process, Processes, free_port, wait_until
from workbench.redis import RedisServer

DAGS = ("one", "two")
ORDERS = {
    "name": "orders",
    "state": "published",
    "deduplication": {"parameters": ["body.order.id"]},
    "dags": list(DAGS),
}


@pytest.fixture
def running() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


@pytest.fixture
def own_postgres(request: pytest.FixtureRequest, builder: Builder) -> Iterator[PostgresServer]:
    """The server that everybody shares, running again afterwards."""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    yield server
    if not server.process.alive:
        server.start()


@pytest.fixture
def own_redis(redis_server: RedisServer) -> Iterator[RedisServer]:
    yield redis_server
    redis_server.go_on()
    if not redis_server.process.alive:
        redis_server.start()
    redis_server.flush()


@pytest.fixture
def house(
    builder: Builder, running: Processes, own_postgres: PostgresServer, own_redis: RedisServer
) -> House:
    house = builder.build(running, postgres=own_postgres, redis=own_redis)
    house.apply(ORDERS)
    return house


def drained(house: House) -> None:
    wait_until(lambda: house.waiting() == 0, seconds=60, what="all events to be dispatched")


def kill_at(house: House, point: str, number: int, *command: str) -> Process:
    """Start a command that will die at a point."""
    words = [sys.executable, str(Path(__file__).with_name("killer.py")), point, str(number), *command]
    env = {**house.airflow.env, "PYTHONPATH": f"{Path(__file__).parents[2]}"}
    process = Process("killed", words, env=env, log=house.airflow.home / f"killed-{number}-{command[1]}.log")
    return house.processes.start(process)


def test_hundred_identical_requests_at_once_on_four_processes(house: House) -> None:
    """Two api-server workers and two ``serve`` workers: one 200, 99 × 204, one run for each DAG."""
    house.api_server("--workers", "2")
    house.serve(workers=2)
    order = {"order": {"id": str(uuid.uuid4())}}
    barrier = threading.Barrier(100)

    def post(number: int) -> int:
        barrier.wait(30)
        return house.post("orders", order, receiver=number % 2).status_code

    with ThreadPoolExecutor(100) as pool:
        assert Counter(pool.map(post, range(100))) == {200: 1, 204: 99}
    drained(house)
    assert sorted(dag for dag, _, _ in house.runs()) == ["one", "two"]


def test_redis_may_go_hang_and_forget(house: House, own_redis: RedisServer) -> None:
    """Stopped, silent or empty: 200 and 204 stay right, and nobody waits long."""
    house.serve()
    known = {"order": {"id": "known"}}
    assert house.post("orders", known).status_code == 200
    for fault in (own_redis.stop, own_redis.start, own_redis.flush, own_redis.hang):
        fault()
        began = time.monotonic()
        assert house.post("orders", known).status_code == 204
        assert house.post("orders", {"order": {"id": fault.__name__}}).status_code == 200
        assert house.post("orders", {"order": {"id": fault.__name__}}).status_code == 204
        assert time.monotonic() - began < 3

    def redis_is_down() -> bool:
        health = httpx.get(f"{house.receive[0]}/health", timeout=10)
        assert health.status_code == 200
        return bool(health.json()["redis"]["status"] == "down")

    wait_until(redis_is_down, seconds=5, what="the health to tell")


def test_a_stopped_database_is_a_503_and_the_retry_is_a_200(
    house: House, own_postgres: PostgresServer
) -> None:
    """The sender is told to come back, and nothing was half-written."""
    house.serve()
    assert house.post("orders", {"order": {"id": "before"}}).status_code == 200
    own_postgres.stop()
    refused = house.post("orders", {"order": {"id": "during"}})
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["content-type"] == "application/problem+json"
    wait_until(
        lambda: httpx.get(f"{house.receive[0]}/health", timeout=10).status_code == 503,
        seconds=5,
        what="the health to tell",
    )
    own_postgres.start()
    wait_until(
        lambda: house.post("orders", {"order": {"id": "after"}}).status_code == 200, seconds=20, what="a 200"
    )
    assert house.post("orders", {"order": {"id": "during"}}).status_code == 200
    assert house.post("orders", {"order": {"id": "before"}}).status_code == 204


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("intake")])
def test_a_receiver_killed_at_a_point_of_the_intake(house: House, point: str) -> None:
    """Senders whose connection broke send again; each order runs once."""
    port = free_port()
    command = ("incoming", "serve", "--port", str(port))
    base = f"http://127.0.0.1:{port}/incoming"
    house.receive.append(base)
    process = kill_at(house, point, 5, *command)
    process.wait_until(lambda: answers(base), seconds=60)
    house.dispatch()
    sender = Sender(house)
    sending = threading.Thread(target=sender.send, args=(60,))
    sending.start()
    wait_until(lambda: not process.alive, seconds=30, what="the receiver to die")
    again = house.processes.start(house.airflow.process("serve-again", *command))
    again.wait_until(lambda: answers(base), seconds=60)
    sending.join()
    drained(house)
    assert check(sender.ledger, house.runs(), DAGS) == []
    assert sender.statuses()[0] > 0


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("dispatch")])
def test_a_dispatcher_killed_at_a_point_of_a_batch(house: House, point: str) -> None:
    """Whatever it had not committed is dispatched by the next one; what it had is not done again."""
    house.serve()
    sender = Sender(house)
    sender.send(60)
    process = kill_at(house, point, 1, "incoming", "dispatch")
    wait_until(lambda: not process.alive, seconds=60, what="the dispatcher to die")
    assert house.waiting() > 0
    house.dispatch()
    drained(house)
    assert check(sender.ledger, house.runs(), DAGS) == []


def test_random_kills_under_load(house: House) -> None:
    """Two receivers and two dispatchers, one of them killed every second: the ledger holds."""
    receivers = [house.serve(), house.serve()]
    dispatchers = [house.dispatch(), house.dispatch()]
    sender = Sender(house)
    sending = threading.Thread(target=sender.send, args=(1500,), kwargs={"clients": 8})
    sending.start()
    for round_ in range(6):
        time.sleep(1)
        for process in (receivers[round_ % 2], dispatchers[round_ % 2]):
            process.kill()
            process.start()
    sending.join()
    drained(house)
    assert check(sender.ledger, house.runs(), DAGS) == []


def test_sigterm_drains(house: House) -> None:
    """A polite stop under load answers what it has; nothing is lost."""
    process = house.serve()
    house.dispatch()
    sender = Sender(house, retry_for=0)
    sending = threading.Thread(target=sender.send, args=(400,))
    sending.start()
    wait_until(lambda: sender.statuses()[200] >= 20, seconds=30, what="some answers")
    process.stop()
    sending.join()
    drained(house)
    settled = [entry for entry in sender.ledger if entry.settled]
    assert settled
    assert check(settled, house.runs(), DAGS) == []
