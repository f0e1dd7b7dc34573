"""The intake: whoever is answered 200 or 204 is answered truly, with and without Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg2.extensions
import pytest
from sqlalchemy import Engine, event, func, select

from airflow_incoming.core.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    Overloaded,
    RedisUnavailable,
    Stopping,
    Unavailable,
    Undecided,
)
from airflow_incoming.core.messages import Event, Outcome
from airflow_incoming.db import tables
from airflow_incoming.services.backlog import BacklogLimits
from airflow_incoming.services.intake import SLIDE_EVERY, Intake
from airflow_incoming.services.lanes import SMALL, Lanes
from airflow_incoming.stores.dedup import DedupMemory, InMemoryDedup
from airflow_incoming.stores.inbox import Inbox
from tests.contract.samples import NOW, make_event, random_hash


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> Any:
        return self.now


class Down(InMemoryDedup):
    """A memory out of reach."""

    def look(self, windows: Mapping[str, timedelta]) -> Any:
        raise RedisUnavailable("down")

    def remember(self, memories: Any) -> None:
        raise RedisUnavailable("down")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def intake(engine: Engine, dedup_memory: DedupMemory, clock: Clock) -> Iterator[Intake]:
    intake = Intake(Inbox(engine), dedup_memory, clock=clock)
    intake.start()
    yield intake
    intake.stop()


def outcomes(intake: Intake, *events: Event) -> list[Outcome]:
    return [future.result(10) for future in [intake.submit(event) for event in events]]


def stored(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(tables.event)) or 0


def lose(memory: InMemoryDedup) -> None:
    """Do what FLUSHALL does."""
    memory._memory.clear()


def count_statements(engine: Engine) -> list[str]:
    """Return a list of what is sent from now on; on PostgreSQL by the driver: nothing hides there."""
    statements: list[str] = []

    class Counting(psycopg2.extensions.cursor):
        def execute(self, query: Any, values: Any = None) -> None:
            statements.append(str(query))
            super().execute(query, values)

        def executemany(self, query: Any, rows: Any) -> None:
            statements.extend([str(query)] * len(rows))
            super().executemany(query, rows)

    if engine.dialect.name == "postgresql":
        event.listen(engine, "checkout", lambda raw, *_: setattr(raw, "cursor_factory", Counting))
    else:
        event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    return statements


def test_hundred_equal_requests_are_one_event(intake: Intake, engine: Engine) -> None:
    """One 200 and 99 × 204, all naming the same event."""
    hash_ = random_hash()
    results = outcomes(intake, *(make_event(hash_) for _ in range(100)))
    assert sorted(result.status for result in results) == ["accepted"] + ["duplicate"] * 99
    assert len({result.event_id for result in results}) == 1
    assert stored(engine) == 1


def test_a_known_duplicate_costs_no_statement(intake: Intake, engine: Engine) -> None:
    """What the fast memory knows never reaches the database."""
    hash_ = random_hash()
    outcomes(intake, make_event(hash_))
    statements = count_statements(engine)
    assert outcomes(intake, make_event(hash_))[0].status == "duplicate"
    assert statements == []


def test_a_batch_costs_a_bounded_number_of_statements(engine: Engine, dedup_memory: DedupMemory) -> None:
    """A hundred new events take as many statements as one: on PostgreSQL a single one, sent once."""
    intake = Intake(Inbox(engine), dedup_memory, clock=lambda: NOW)
    intake.take_in([(make_event(random_hash()), Future())])
    statements = count_statements(engine)
    batch: list[tuple[Event, Future[Outcome]]] = [(make_event(random_hash()), Future()) for _ in range(100)]
    intake.take_in(batch)
    assert all(future.result(0).status == "accepted" for _, future in batch)
    assert 1 <= len(statements) <= {"postgresql": 1}.get(engine.dialect.name, 4)


def test_without_redis_the_database_decides(engine: Engine, clock: Clock) -> None:
    """An outage of Redis changes no answer."""
    intake = Intake(Inbox(engine), Down(), clock=clock)
    intake.start()
    hash_ = random_hash()
    assert [o.status for o in outcomes(intake, make_event(hash_))] == ["accepted"]
    assert [o.status for o in outcomes(intake, make_event(hash_))] == ["duplicate"]
    intake.stop()


def test_a_flushed_redis_forgets_nothing(engine: Engine, clock: Clock) -> None:
    """The database still knows; the memory learns it again."""
    memory = InMemoryDedup()
    intake = Intake(Inbox(engine), memory, clock=clock)
    intake.start()
    hash_ = random_hash()
    first = outcomes(intake, make_event(hash_))[0]
    lose(memory)
    again = outcomes(intake, make_event(hash_))[0]
    assert (again.status, again.event_id) == ("duplicate", first.event_id)
    assert hash_ in memory.look({hash_: timedelta(days=7)})
    intake.stop()


def test_what_redis_keeps_alive_reaches_the_database_once_an_hour(
    intake: Intake, engine: Engine, clock: Clock
) -> None:
    """Duplicates that only Redis saw move the claim forward, at most once an hour."""
    hash_ = random_hash()
    outcomes(intake, make_event(hash_))
    clock.now = NOW + SLIDE_EVERY + timedelta(seconds=1)
    statements = count_statements(engine)
    outcomes(intake, make_event(hash_))
    outcomes(intake, make_event(hash_))
    assert len([s for s in statements if s.startswith("UPDATE")]) == 1
    with engine.connect() as connection:
        expires = connection.scalar(select(tables.dedup.c.expires_at))
    assert expires == clock.now + timedelta(days=7)


def test_short_windows_slide_often_enough(engine: Engine, clock: Clock) -> None:
    """A window of 30 minutes, sent every 10 minutes: Redis may be flushed at any time."""
    memory = InMemoryDedup()
    intake = Intake(Inbox(engine), memory, clock=clock)
    intake.start()
    hash_, window = random_hash(), timedelta(minutes=30)
    first = outcomes(intake, make_event(hash_, window=window))[0]
    for _ in range(5):
        clock.now += timedelta(minutes=10)
        assert outcomes(intake, make_event(hash_, window=window))[0].status == "duplicate"
    lose(memory)
    again = outcomes(intake, make_event(hash_, window=window))[0]
    assert (again.status, again.event_id) == ("duplicate", first.event_id)
    intake.stop()


@pytest.mark.parametrize("redis", ["kept", "lost", "none"])
def test_the_window_begins_anew_with_each_duplicate(engine: Engine, clock: Clock, redis: str) -> None:
    """After 6 d 23 h known, again and again; 7 d + 1 s after the last time new. Redis changes nothing."""
    memory = InMemoryDedup(lambda: clock.now.timestamp())
    intake = Intake(Inbox(engine), None if redis == "none" else memory, clock=clock)
    hash_ = random_hash()

    def send() -> Outcome:
        future: Future[Outcome] = Future()
        intake.take_in([(make_event(hash_), future)])  # and not in a thread, which would see the clock move
        return future.result(0)

    first = send()
    for _ in range(3):
        clock.now += timedelta(days=6, hours=23)
        if redis == "lost":
            lose(memory)
        again = send()
        assert (again.status, again.event_id) == ("duplicate", first.event_id)
    clock.now += timedelta(days=7, seconds=1)
    assert [send().status, send().status] == ["accepted", "duplicate"]
    assert stored(engine) == 2


def test_who_waited_for_a_lock_in_vain_does_not_wait_again(clock: Clock) -> None:
    """A second attempt is for lost connections; behind a lock it would only double the wait."""
    asked = []

    class Busy(Inbox):
        def append(self, events: Any, *, now: Any) -> Any:
            asked.append(len(events))
            raise DatabaseBusy

    intake = Intake(Busy(None), None, clock=clock)  # type: ignore[arg-type]
    future: Future[Outcome] = Future()
    intake.take_in([(make_event(random_hash()), future)])
    with pytest.raises(DatabaseBusy):
        future.result(0)
    assert asked == [1]


def test_what_waited_too_long_is_not_stored(engine: Engine, clock: Clock) -> None:
    """Its sender was told to send again; storing it as well could run it twice."""
    seconds = [0.0]
    intake = Intake(
        Inbox(engine), None, clock=clock, limits=BacklogLimits(wait=10), monotonic=lambda: seconds[0]
    )
    late = intake.submit(make_event())
    seconds[0] = 10.1
    timely = intake.submit(make_event())
    intake.start()
    assert timely.result(10).status == "accepted"
    with pytest.raises(Undecided):
        late.result(10)
    assert stored(engine) == 1
    intake.stop()


def test_errors_of_the_database_never_show_a_body(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """What is logged of a refused statement has no parameters in it."""
    intake = Intake(Inbox(engine), None, clock=lambda: NOW)
    tables.metadata.drop_all(engine)
    future: Future[Outcome] = Future()
    intake.take_in([(make_event(random_hash(), body='{"card": "4111"}'), future)])
    with pytest.raises(Unavailable):
        future.result(0)
    assert caplog.text
    assert "4111" not in caplog.text


def test_a_dead_database_refuses_all(clock: Clock) -> None:
    """Nobody is told that something was stored which wasn't."""

    class Dead(Inbox):
        def append(self, events: Any, *, now: Any) -> Any:
            raise DatabaseUnavailable

    intake = Intake(Dead(None), InMemoryDedup(), clock=clock)  # type: ignore[arg-type]
    intake.start()
    for future in [intake.submit(make_event(random_hash())) for _ in range(3)]:
        with pytest.raises(DatabaseUnavailable):
            future.result(10)
    intake.stop()


def test_a_connection_lost_during_commit_is_tried_again(engine: Engine, clock: Clock) -> None:
    """The event was stored, the answer was lost: the second attempt finds it and answers 200."""

    class Cut(Inbox):
        cut = True

        def append(self, events: Any, *, now: Any) -> Any:
            owners = super().append(events, now=now)
            if self.cut:
                self.cut = False
                raise DatabaseUnavailable
            return owners

    intake = Intake(Cut(engine), InMemoryDedup(), clock=clock)
    intake.start()
    assert [o.status for o in outcomes(intake, make_event(random_hash()), make_event(None))] == [
        "accepted"
    ] * 2
    assert stored(engine) == 2
    intake.stop()


def test_an_event_that_the_database_refuses_spoils_no_other(engine: Engine, clock: Clock) -> None:
    """One poisonous event of a batch is refused alone."""

    class Picky(Inbox):
        def append(self, events: Any, *, now: Any) -> Any:
            if any(event.body == "poison" for event in events):
                raise ValueError("refused")
            return super().append(events, now=now)

    intake = Intake(Picky(engine), None, clock=clock)
    good, bad = make_event(random_hash()), make_event(random_hash(), body="poison")
    futures: list[Future[Outcome]] = [Future(), Future()]
    intake.take_in([(good, futures[0]), (bad, futures[1])])
    assert futures[0].result(0).status == "accepted"
    with pytest.raises(Unavailable):
        futures[1].result(0)


def test_a_full_backlog_and_a_stopped_intake_refuse(engine: Engine, clock: Clock) -> None:
    """Memory is bounded, and nothing is accepted that nobody will take in."""
    intake = Intake(Inbox(engine), None, clock=clock, limits=BacklogLimits(backlog=2))
    futures = [intake.submit(make_event()) for _ in range(3)]
    with pytest.raises(Overloaded):
        futures[2].result(0)
    intake.start()
    assert [future.result(10).status for future in futures[:2]] == ["accepted", "accepted"]
    intake.stop()
    with pytest.raises(Stopping):
        intake.submit(make_event()).result(0)


def test_stopping_takes_in_what_waits(engine: Engine, clock: Clock) -> None:
    """A clean stop loses nothing that was submitted before it."""
    intake = Intake(Inbox(engine), None, clock=clock)
    futures = [intake.submit(make_event(random_hash())) for _ in range(50)]
    intake.start()
    intake.stop()
    assert [future.result(0).status for future in futures] == ["accepted"] * 50


def test_nobody_waits_until_redis_is_told(engine: Engine, clock: Clock) -> None:
    """The event is committed; that the next ones are answered faster is no business of this one."""
    told = threading.Event()

    class Slow(InMemoryDedup):
        def remember(self, memories: Any) -> None:
            assert told.wait(10)
            super().remember(memories)

    memory, hash_ = Slow(), random_hash()
    intake = Intake(Inbox(engine), memory, clock=clock)
    intake.start()
    first, second = make_event(hash_), make_event(hash_)
    assert intake.submit(first).result(10).status == "accepted"
    later = intake.submit(second)
    told.set()
    assert later.result(10) == Outcome(status="duplicate", event_id=first.id)
    intake.stop()
    assert memory.look({hash_: timedelta(days=7)})[hash_].event_id == first.id


def test_small_events_never_wait_for_the_transaction_of_large_ones(engine: Engine, clock: Clock) -> None:
    """While the database stores large bodies, small ones are committed; a hash has one owner in both."""
    storing, go_on = threading.Event(), threading.Event()

    class Slow(Inbox):
        def append(self, events: Sequence[Event], *, now: datetime) -> dict[UUID, UUID]:
            storing.set()
            assert go_on.wait(10)
            return super().append(events, now=now)

    lanes = Lanes(
        small=Intake(Inbox(engine), None, clock=clock), large=Intake(Slow(engine), None, clock=clock)
    )
    lanes.start()
    hash_ = random_hash()
    large = lanes.submit(make_event(hash_, body='["' + "x" * SMALL + '"]'))
    assert storing.wait(10)
    first = lanes.submit(make_event(hash_)).result(10)
    assert first.status == "accepted"
    assert not large.done()
    go_on.set()
    assert large.result(10) == Outcome(status="duplicate", event_id=first.event_id)
    lanes.stop()
