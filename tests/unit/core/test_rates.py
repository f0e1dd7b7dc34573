"""Rate limits: exact over any window, for each key by itself."""

from __future__ import annotations

import pytest

from airflow_incoming.core.rates import RateLimiter, conform
from airflow_incoming.core.units import Rate


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_of_the_whole_count_and_then_one_at_a_time() -> None:
    """3 per minute: three at once, the fourth after 20 s."""
    clock = Clock()
    limiter = RateLimiter(clock)
    rate = Rate(3, 60)
    assert [limiter.take("a", rate) for _ in range(4)] == [0, 0, 0, 20]
    clock.now += 19
    assert limiter.take("a", rate) == 1
    clock.now += 1
    assert limiter.take("a", rate) == 0
    assert limiter.take("a", rate) == 20


@pytest.mark.parametrize(("rate", "first"), [(Rate(50, 1), 99), (Rate(600, 60), 1199), (Rate(1, 60), 1)])
def test_a_flood_gets_a_burst_and_then_its_rate(rate: Rate, first: int) -> None:
    """In the first period nearly twice the count, in each one after it the count, as the README says."""
    clock = Clock()
    limiter = RateLimiter(clock)
    steps = 10 * rate.count
    passed = []
    for period in range(3):
        passed.append(0)
        for step in range(steps):
            clock.now = 100.0 + rate.period * (period + step / steps)
            passed[-1] += limiter.take("a", rate) == 0
            if step == 0:
                passed[-1] += sum(limiter.take("a", rate) == 0 for _ in range(2 * rate.count))
    assert passed == [first, rate.count, rate.count]


def test_a_refused_request_costs_nothing() -> None:
    """Whoever keeps knocking doesn't wait longer for it."""
    clock = Clock()
    limiter = RateLimiter(clock)
    rate = Rate(1, 10)
    limiter.take("a", rate)
    assert [limiter.take("a", rate) for _ in range(100)] == [10] * 100


def test_keys_are_apart() -> None:
    """One's flood is not the other's."""
    limiter = RateLimiter(Clock())
    rate = Rate(1, 10)
    assert (limiter.take("a", rate), limiter.take("b", rate)) == (0, 0)


def test_memory_is_bounded() -> None:
    """The keys that were used last are kept."""
    limiter = RateLimiter(Clock(), capacity=2)
    rate = Rate(1, 10)
    for key in ("a", "b", "c"):
        limiter.take(key, rate)
    assert limiter.take("c", rate) == 10
    assert limiter.take("a", rate) == 0


def test_a_long_quiet_time_saves_nothing_up() -> None:
    """After an hour of silence the burst is the count, not more."""
    clock = Clock()
    limiter = RateLimiter(clock)
    rate = Rate(2, 10)
    clock.now += 3600
    assert [limiter.take("a", rate) for _ in range(3)] == [0, 0, 5]


@pytest.mark.parametrize("ahead", [10.1, 3600.0, float("inf")])
def test_a_clock_that_was_set_back_closes_nothing_for_long(ahead: float) -> None:
    """The next request conforms after one spacing at the latest."""
    wait, arrival = conform(100.0 + ahead, Rate(2, 10), 100.0)
    assert (wait, arrival) == (5.0, 110.0)
