from __future__ import annotations

from concurrent.futures import Future

from airflow_incoming.services.backlog import Backlog, BacklogLimits, Waiting
from tests.contract.samples import make_event

LIMITS = BacklogLimits(backlog=10, backlog_bytes=100_000, batch=4, batch_bytes=2_000, small=100)


def waiting(size: int) -> Waiting:
    return Waiting(make_event(body="x" * size), Future(), 0.0)


def sizes(batch: list[Waiting]) -> list[int]:
    return [len(one.event.body) for one in batch]


def test_small_events_overtake_large_ones() -> None:
    """However many large ones wait already."""
    backlog = Backlog(LIMITS)
    for size in (1500, 1500, 1500, 10, 20):
        assert backlog.add(waiting(size))
    assert sizes(backlog.take()) == [10, 20, 1500, 1500]


def test_every_batch_takes_a_large_event_along() -> None:
    """Large ones don't starve behind small ones either, and no batch holds more of them than its bytes."""
    backlog = Backlog(LIMITS)
    for size in (5000, 5000, 10, 10, 10, 10, 10):
        assert backlog.add(waiting(size))
    assert sizes(backlog.take()) == [10, 10, 10, 10, 5000]
    assert sizes(backlog.take()) == [10, 5000]
    assert backlog.take() == []


def test_each_lane_keeps_its_order() -> None:
    """First come, first served, among equals."""
    backlog = Backlog(LIMITS)
    for size in (300, 1, 200, 2):
        backlog.add(waiting(size))
    assert sizes(backlog.take()) == [1, 2, 300, 200]


def test_no_more_events_than_the_limit() -> None:
    """The eleventh is refused, until there is room again."""
    backlog = Backlog(LIMITS)
    assert [backlog.add(waiting(1)) for _ in range(11)] == [True] * 10 + [False]
    backlog.take()
    assert backlog.add(waiting(1))


def test_no_more_bytes_than_the_limit() -> None:
    """Bytes of both lanes count together; what was taken counts no more."""
    backlog = Backlog(LIMITS)
    assert backlog.add(waiting(60_000))
    assert not backlog.add(waiting(40_001))
    assert backlog.add(waiting(40_000))
    assert not backlog.add(waiting(1))
    assert sizes(backlog.take()) == [60_000]
    assert backlog.add(waiting(1))
    assert len(backlog) == 2
