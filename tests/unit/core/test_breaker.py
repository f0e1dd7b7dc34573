"""The circuit breaker: leave alone what is broken, come back soon."""

from __future__ import annotations

from airflow_incoming.core.breaker import CircuitBreaker


def test_it_opens_for_longer_and_longer_up_to_a_bound() -> None:
    """1, 2, 4, 8, 8 seconds."""
    breaker = CircuitBreaker(pause=1, longest=8)
    now, pauses = 0.0, []
    for _ in range(5):
        assert breaker.allows(now)
        breaker.failed(now)
        began = now
        while not breaker.allows(now):
            now += 0.5
        pauses.append(now - began)
    assert pauses == [1, 2, 4, 8, 8]


def test_a_success_closes_it() -> None:
    """The next failure pauses shortly again."""
    breaker = CircuitBreaker(pause=1, longest=8)
    for _ in range(3):
        breaker.failed(0)
    breaker.succeeded()
    assert breaker.allows(0)
    breaker.failed(0)
    assert breaker.allows(1)
