"""Rates that processes count together: Redis and its twin behave alike, and Redis may fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.units import Rate
from airflow_incoming.services.rates import Rates
from airflow_incoming.stores.rates import Ask, Grant, InMemoryRates, RateStore, RedisRates
from airflow_incoming.stores.redis_connection import connect
from tests.contract.conftest import empty_redis

HOURLY = Rate(3, 3600)


@pytest.fixture(params=["memory", "redis", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[RateStore]:
    if request.param == "memory":
        yield InMemoryRates()
        return
    client = connect(empty_redis(request, request.param).url)
    yield RedisRates(client, prefix="test")
    client.close()


def take(store: RateStore, key: str, rate: Rate, count: int = 1) -> Grant:
    (grant,) = store.take([Ask(key, rate, count)])
    return grant


def test_a_burst_of_the_whole_count_and_then_one_at_a_time(store: RateStore) -> None:
    """3 per hour: three at once, the fourth after 20 minutes."""
    assert [take(store, "a", HOURLY).count for _ in range(4)] == [1, 1, 1, 0]
    assert take(store, "a", HOURLY).wait == pytest.approx(1200, abs=5)


def test_many_at_once_are_counted_like_one_by_one(store: RateStore) -> None:
    """Those that conform do, the others learn when the next one would."""
    grant = take(store, "a", HOURLY, 5)
    assert (grant.count, round(grant.wait, -1)) == (3, 1200)
    assert take(store, "b", HOURLY, 2) == Grant(2, pytest.approx(0, abs=1))
    assert [take(store, "b", HOURLY).count for _ in range(2)] == [1, 0]


def test_a_refused_request_costs_nothing(store: RateStore) -> None:
    """Whoever keeps knocking doesn't wait longer for it, and conforms again in time."""
    quick = Rate(2, 1)
    assert take(store, "a", quick, 2).count == 2
    end = time.monotonic() + 0.55
    while time.monotonic() < end:
        grant = take(store, "a", quick, 10)
        if grant.count:
            break
    assert grant.count == 1
    assert time.monotonic() > end - 0.1


def test_keys_and_rates_are_apart(store: RateStore) -> None:
    """One's flood is not the other's, and a rate that was changed begins anew in Redis."""
    asks = [Ask("a", HOURLY, 9), Ask("b", HOURLY, 1), Ask("a", HOURLY, 1)]
    assert [grant.count for grant in store.take(asks)] == [3, 1, 0]
    assert store.take([]) == []
    if isinstance(store, RedisRates):
        assert take(store, "a", Rate(5, 3600), 9).count == 5


@pytest.mark.parametrize("rate", [Rate(1, 1), Rate(7, 60), Rate(999_999_999, 3600), Rate(333, 1)])
def test_any_rate_grants_its_count(store: RateStore, rate: Rate) -> None:
    """Fractions of a microsecond are no reason to refuse the last of a burst."""
    asked = min(rate.count, 5000)
    assert take(store, "a", rate, asked).count == asked


@pytest.mark.parametrize(
    "garbage",
    [("SET", "garbage"), ("SET", "nan"), ("SET", "inf"), ("SET", "9e99"), ("SET", "-5"), ("LPUSH", "x")],
)
def test_garbage_at_our_keys_closes_nothing_for_long(any_redis: Any, garbage: tuple[str, str]) -> None:
    """What isn't ours says nothing; a time beyond a period is taken for the end of that."""
    any_redis.client().execute_command(garbage[0], "test:rate:a:3/h", garbage[1])
    client = connect(any_redis.url)
    grant = take(RedisRates(client, prefix="test"), "a", HOURLY)
    assert grant.count == 1 or grant.wait <= 1200
    client.close()


def test_what_no_longer_matters_expires(any_redis: Any) -> None:
    """Nothing stays in Redis for longer than a period."""
    client = any_redis.client()
    store = RedisRates(connect(any_redis.url), prefix="test")
    take(store, "a", Rate(1, 3600))
    take(store, "b", Rate(10, 1))
    assert {key: 0 < client.pttl(key) <= 3600_001 for key in client.scan_iter()} == {
        b"test:rate:a:1/h": True,
        b"test:rate:b:10/s": True,
    }
    time.sleep(0.2)
    assert list(client.scan_iter()) == [b"test:rate:a:1/h"]
    client.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis+cluster://127.0.0.1:1"])
def test_redis_out_of_reach(url: str) -> None:
    client = connect(url)
    with pytest.raises(RedisUnavailable):
        take(RedisRates(client, prefix="test"), "a", HOURLY)
    client.close()


# Processes that count together


class Counted:
    """A store that remembers what it was asked, and may be out of reach or slow."""

    def __init__(self, store: RateStore) -> None:
        self.store = store
        self.asked: list[Sequence[Ask]] = []
        self.down = False
        self.answers = threading.Event()
        self.answers.set()

    def take(self, asks: Sequence[Ask]) -> list[Grant]:
        self.asked.append(asks)
        self.answers.wait(10)
        if self.down:
            raise RedisUnavailable("Redis: Broken")
        return self.store.take(asks)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counted(clock: Clock) -> Counted:
    return Counted(InMemoryRates(clock))


@pytest.fixture
def rates(counted: Counted, clock: Clock) -> Iterator[Rates]:
    rates = Rates(counted, monotonic=clock)
    rates.start()
    yield rates
    rates.stop()


def test_processes_together_grant_exactly_the_rate(any_redis: Any) -> None:
    """Four of them, 400 requests at once: 50 conform."""
    clients = [connect(any_redis.url, timeout=5) for _ in range(4)]
    processes = [Rates(RedisRates(client, prefix="test")) for client in clients]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(16) as threads:
        taken = threads.map(lambda n: processes[n % 4].take("a", Rate(50, 3600)).result(10), range(400))
        waits = list(taken)
    assert waits.count(0.0) == 50
    assert all(0 < wait <= 72 for wait in waits if wait)
    for process, client in zip(processes, clients, strict=True):
        process.stop()
        client.close()


def test_whatever_waits_is_asked_for_in_one_round_trip(rates: Rates, counted: Counted) -> None:
    """While Redis is slow, requests gather; taking never blocks."""
    counted.answers.clear()
    futures = [rates.take("a", HOURLY)]
    while not counted.asked:
        time.sleep(0.001)
    futures += [rates.take("ab"[n % 2], HOURLY) for n in range(20)]
    assert not any(future.done() for future in futures)
    counted.answers.set()
    assert [future.result(5) for future in futures].count(0.0) == 6
    assert [len(asks) for asks in counted.asked] == [1, 2]


def test_a_flood_over_the_rate_costs_redis_nothing(rates: Rates, counted: Counted, clock: Clock) -> None:
    """It is told to wait out of memory, until another one may conform."""
    assert [rates.take("a", HOURLY).result(5) for _ in range(4)] == [0, 0, 0, 1200]
    asked = len(counted.asked)
    clock.now += 1199
    assert [rates.take("a", HOURLY).result(5) for _ in range(100)] == [1] * 100
    assert len(counted.asked) == asked
    clock.now += 1
    assert [rates.take("a", HOURLY).result(5) for _ in range(2)] == [0, 1200]


def test_while_redis_is_down_each_process_counts_by_itself(
    rates: Rates, counted: Counted, clock: Clock
) -> None:
    """Nobody is refused for it, and the rate holds in the process; Redis is tried again later."""
    counted.down = True
    assert [rates.take("a", HOURLY).result(5) for _ in range(4)] == [0, 0, 0, 1200]
    assert len(counted.asked) == 1
    counted.down = False
    clock.now += 2
    assert [rates.take("b", HOURLY).result(5) for _ in range(4)] == [0, 0, 0, 1200]
    assert len(counted.asked) == 5


def test_a_store_that_breaks_down_is_no_reason_to_hang(rates: Rates, counted: Counted) -> None:
    """A bug there is counted around, too."""
    counted.store = None  # type: ignore[assignment]
    assert rates.take("a", HOURLY).result(5) == 0


def test_without_redis_or_after_the_end_it_is_counted_here(clock: Clock, counted: Counted) -> None:
    """At once: no thread, no waiting."""
    stopped = Rates(counted, monotonic=clock)
    stopped.start()
    stopped.stop()
    for rates in (Rates(None, monotonic=clock), stopped):
        futures = [rates.take("a", HOURLY) for _ in range(4)]
        assert all(future.done() for future in futures)
        assert [future.result() for future in futures] == [0, 0, 0, 1200]
    assert counted.asked == []


def test_what_waits_is_bounded(rates: Rates, counted: Counted) -> None:
    """Behind a Redis that hangs, requests beyond that are counted in this process."""
    counted.answers.clear()
    futures = [rates.take("a", Rate(10, 3600)) for _ in range(5000)]
    done = [future.result() for future in futures if future.done()]
    assert 2500 <= len(done) <= 2999
    assert done.count(0.0) == 10
    counted.answers.set()
    assert all(future.result(10) >= 0 for future in futures)
