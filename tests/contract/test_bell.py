"""The bell: whoever listens hears it at once, and nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from airflow_incoming.stores.bell import Bell
from airflow_incoming.stores.redis_connection import connect
from workbench.processes import wait_until
from workbench.redis import RedisCluster, RedisServer

AnyRedis = RedisServer | RedisCluster


class Ears:
    def __init__(self) -> None:
        self.heard = 0
        self.at = 0.0
        self.once = threading.Event()

    def __call__(self) -> None:
        self.heard += 1
        self.at = time.perf_counter()
        self.once.set()


@pytest.fixture
def bells(any_redis: AnyRedis) -> Iterator[list[Bell]]:
    """One who rings and two who listen, each with a client of their own."""
    made = [Bell(connect(any_redis.url), prefix="test") for _ in range(3)]
    yield made
    for bell in made:
        bell.stop()


def listening(bells: list[Bell]) -> list[Ears]:
    ears = [Ears() for _ in bells]
    for bell, each in zip(bells, ears, strict=True):
        bell.listen(each)
    return ears


def subscribed(server: AnyRedis, number: int) -> bool:
    heard = [node.client().pubsub_numsub("test:wake")[0][1] for node in server.nodes]
    return sum(heard) == number


def test_all_who_listen_hear_it_at_once(any_redis: AnyRedis, bells: list[Bell]) -> None:
    """In a few milliseconds, where polling takes half a second."""
    ears = listening(bells[1:])
    wait_until(lambda: subscribed(any_redis, 2), seconds=10, what="two who listen")
    bells[0].start()
    rung = time.perf_counter()
    bells[0].ring()
    for each in ears:
        assert each.once.wait(5)
        assert each.at - rung < 0.2


def test_many_rings_are_few_messages(any_redis: AnyRedis, bells: list[Bell]) -> None:
    """A flood of events rings at most twenty times a second, and its last ring is heard."""
    [ears] = listening(bells[1:2])
    wait_until(lambda: subscribed(any_redis, 1), seconds=10, what="one who listens")
    bells[0].start()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        bells[0].ring()
    wait_until(lambda: time.perf_counter() - ears.at > 0.1, seconds=5, what="silence")
    assert 2 <= ears.heard <= 8
    heard = ears.heard
    bells[0].ring()
    wait_until(lambda: ears.heard > heard, seconds=5, what="the last ring")


def test_the_last_ring_before_the_end_is_heard(any_redis: AnyRedis, bells: list[Bell]) -> None:
    """A receiver that is stopped takes in what waits, and rings within the pause after the ring before."""
    [ears] = listening(bells[1:2])
    wait_until(lambda: subscribed(any_redis, 1), seconds=10, what="one who listens")
    bells[0].start()
    bells[0].ring()
    assert ears.once.wait(5)
    bells[0].ring()
    bells[0].stop()
    wait_until(lambda: ears.heard >= 2, seconds=5, what="the last ring")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis+cluster://127.0.0.1:1"])
def test_without_redis_nobody_waits(url: str) -> None:
    """Ringing returns at once, and stopping does."""
    lonely, deaf = Bell(connect(url), prefix="test"), Bell(connect(url), prefix="test")
    lonely.start()
    deaf.listen(lambda: None)
    begun = time.perf_counter()
    for _ in range(1000):
        lonely.ring()
    assert time.perf_counter() - begun < 0.5
    for bell in (lonely, deaf):
        bell.stop()
    assert time.perf_counter() - begun < 4


def test_it_is_heard_again_when_redis_is_back(
    any_redis: AnyRedis, bells: list[Bell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever listens subscribes anew."""
    monkeypatch.setattr("airflow_incoming.stores.bell.RETRY", 0.2)
    [ears] = listening(bells[1:2])
    wait_until(lambda: subscribed(any_redis, 1), seconds=10, what="one who listens")
    for node in any_redis.nodes:
        node.client().client_kill_filter(_type="pubsub")
    bells[0].start()
    wait_until(lambda: subscribed(any_redis, 1), seconds=10, what="the listener's return")
    bells[0].ring()
    assert ears.once.wait(5)
