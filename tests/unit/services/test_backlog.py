from __future__ import annotations

from concurrent.futures import Future

from airflow_incoming.services.backlog import Backlog, BacklogLimits, Waiting
from tests.contract.samples import make_event

LIMITS = BacklogLimits(backlog=10, backlog_bytes=100_000, batch=4, batch_bytes=2_000)


def waiting(size: int) -> Waiting:
    return Waiting(make_event(body="x" * size), Future(), 0.0)


def sizes(batch: list[Waiting]) -> list[int]:
    return [len(one.event.body) for one in batch]


def test_first_come_first_served() -> None:
    """A batch takes so many events, and the rest waits for the next."""
    backlog = Backlog(LIMITS)
    for size in (1, 2, 3, 4, 5):
        assert backlog.add(waiting(size))
    assert sizes(backlog.take()) == [1, 2, 3, 4]
    assert sizes(backlog.take()) == [5]
    assert backlog.take() == []


def test_a_batch_ends_with_the_event_that_fills_it() -> None:
    """However large that is: it has to be taken some time."""
    backlog = Backlog(LIMITS)
    for size in (1500, 5000, 10):
        assert backlog.add(waiting(size))
    assert sizes(backlog.take()) == [1500, 5000]
    assert sizes(backlog.take()) == [10]


def test_no_more_events_than_the_limit() -> None:
    """The eleventh is refused, until there is room again."""
    backlog = Backlog(LIMITS)
    assert [backlog.add(waiting(1)) for _ in range(11)] == [True] * 10 + [False]
    backlog.take()
    assert backlog.add(waiting(1))


def test_no_more_bytes_than_the_limit() -> None:
    """What was taken counts no more."""
    backlog = Backlog(LIMITS)
    assert backlog.add(waiting(60_000))
    assert not backlog.add(waiting(40_001))
    assert backlog.add(waiting(40_000))
    assert not backlog.add(waiting(1))
    assert sizes(backlog.take()) == [60_000]
    assert backlog.add(waiting(1))
    assert len(backlog) == 2
