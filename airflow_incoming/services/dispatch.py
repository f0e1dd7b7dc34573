"""Inbox → DAG runs: one transaction for the runs of a batch and the marks of its events.

Any number of dispatchers may run, as threads of api-servers or as processes; the database gives
each event to one of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from airflow_incoming.core.conf import conf_of, uncarriable
from airflow_incoming.core.errors import (
    AlreadyLaunched,
    DatabaseUnavailable,
    DispatchFailed,
    RequestRejected,
    TransactionLost,
)
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event, PendingEvent, Started
from airflow_incoming.db.engine import reading, translate
from airflow_incoming.services.batches import BatchSize, Stopwatch, Tally, parts
from airflow_incoming.services.ports import DispatchMeter, EventPublisher, Launcher
from airflow_incoming.services.report import Report, first_line
from airflow_incoming.services.statistics import Statistics
from airflow_incoming.services.suspects import Suspects
from airflow_incoming.stores import integrations, queue

log = logging.getLogger(__name__)

#: Seconds between attempts: 1, 2, 4 … up to this.
LONGEST_BACKOFF = 300
#: What waits for a DAG is tried when it appears; else only after one or two times as many seconds.
WAIT = 3600
#: Configurations kept in memory; versions never change.
CACHED_CONFIGURATIONS = 1000


class Dispatcher:
    """Dispatches due events, at most ``batch`` of them in each transaction."""

    def __init__(
        self,
        engine: Engine,
        launcher: Launcher,
        *,
        clock: Callable[[], datetime],
        batch: int = 100,
        retry_for: timedelta = timedelta(days=1),
        monotonic: Callable[[], float] = time.monotonic,
        publisher: EventPublisher | None = None,
        meter: DispatchMeter | None = None,
    ) -> None:
        self._engine = engine
        self._launcher = launcher
        self._clock = clock
        self._watch = Stopwatch(monotonic)
        self._size = BatchSize(batch)
        self._retry_for = retry_for
        self._publisher = publisher
        self._report = Report(log, clock, meter)
        self._configurations: dict[UUID, Configuration] = {}
        self._suspects = Suspects()
        #: Of the batch in hand: what nobody may be given.
        self._left_out: set[UUID] = set()
        self._statistics = Statistics(engine)

    def dispatch_batch(self) -> Tally:
        """Dispatch one batch; an empty tally means that nothing was due.

        Raises DatabaseUnavailable; then nothing of the batch happened, or all of it where the
        connection broke during COMMIT.
        """
        with reading(self._engine) as connection:
            if not queue.has_due(connection, self._clock()):
                return Tally()
        self._watch.begin()
        self._report.begin()
        try:
            with Session(self._engine, autoflush=False, expire_on_commit=False) as session, session.begin():
                tally = self._dispatch(session)
        except TransactionLost:
            self._launcher.discard()
            return self.dispatch_batch()
        except SQLAlchemyError as error:
            self._launcher.discard()
            raise translate(error) from error
        except BaseException:
            self._launcher.discard()
            raise
        self._size.adapt(tally.total, self._watch.seconds)
        self._suspects.acquit()
        self._launcher.announce()
        self._report.tell(tally)
        runs = (len(self._configurations[event.version_id].dags) for event in self._report.dispatched)
        self._statistics.made(sum(runs))
        return tally

    def drain(self, stopped: Callable[[], bool] = lambda: False) -> Tally:
        """Dispatch until nothing is due; return what became of it all."""
        tally = Tally()
        while not stopped():
            batch = self.dispatch_batch()
            if batch.total == 0:
                break
            tally.add(batch)
        return tally

    def _dispatch(self, session: Session) -> Tally:
        now = self._clock()
        self._left_out.clear()
        connection = session.connection()
        taken = queue.take(connection, limit=self._size.now, now=now)
        suspended = self._hold_suspended(connection, [one.event for one in taken])
        tally = Tally(held=sum(one.event.integration_id in suspended for one in taken))
        taken = [one for one in taken if one.event.integration_id not in suspended]
        self._read_configurations(connection, {one.event.version_id for one in taken})
        with self._watch.paused():
            self._launcher.reserve(session, self._assets_of(taken))
        for part in parts(taken):
            tally.add(self._dispatch_part(session, part, now))
        if self._publisher is not None:
            first_tried = [
                one.event for one in taken if one.attempts == 0 and one.event.id not in self._left_out
            ]
            self._publisher.publish(connection, first_tried, self._configurations)
        with self._watch.paused():
            self._launcher.ask_for_runs(session)
        return tally

    def _dispatch_part(self, session: Session, taken: Sequence[queue.Taken], now: datetime) -> Tally:
        """Start what some events are to start, and mark each of them."""
        tally = Tally()
        pending: list[PendingEvent] = []
        failed: dict[UUID, DispatchFailed] = {}
        for one in taken:
            try:
                pending.append(self._ready(one.event))
            except DispatchFailed as error:
                failed[one.event.id] = error
        self._launcher.prepare(session, pending)
        started = self._launch_together(session, pending)
        for each in pending:
            if each.event.id not in started:
                try:
                    started[each.event.id] = self._launch(session, each)
                except DispatchFailed as error:
                    failed[each.event.id] = error
        for one in taken:
            if one.event.id in failed:
                self._mark_failure(session.connection(), one, failed[one.event.id], now, tally)
        queue.mark_dispatched(session.connection(), started, now)
        tally.dispatched = len(started)
        self._report.dispatched += [one.event for one in pending if one.event.id in started]
        return tally

    def _ready(self, event: Event) -> PendingEvent:
        """Return an event with what its runs receive. Raises DispatchFailed where that is unknown."""
        reason = self._suspects.verdict(event.id)
        if reason is not None:
            raise DispatchFailed(reason, retry=True)
        configuration = self._configurations.get(event.version_id)
        if configuration is None:
            raise DispatchFailed("This release can't read the integration's configuration.", retry=True)
        try:
            conf = conf_of(event, configuration)
        except RequestRejected as error:  # a dispatcher of the release that stored it may read it
            reason = f"This release can't read the event's body. {error.detail}"
            raise DispatchFailed(reason, retry=True) from error
        except Exception as error:
            raise self._report.unexpected(event, error) from error
        if (name := uncarriable(conf)) is not None:
            self._left_out.add(event.id)
            reason = f"Airflow can't carry parameter {name!r}, so nothing is started. Send it as other text."
            raise DispatchFailed(reason, retry=False)
        return PendingEvent(event=event, configuration=configuration, conf=conf)

    def _launch_together(
        self, session: Session, pending: Sequence[PendingEvent]
    ) -> dict[UUID, tuple[Started, ...]]:
        """Start those events that can be started together; the others are left to be started alone.

        Where the database refuses their rows, each half is tried again: one event may be to blame.
        """
        together = [one for one in pending if self._suspects.may_join(one.event.id)]
        started: dict[UUID, tuple[Started, ...]] = {}
        untried = [together]
        while untried:
            some = untried.pop()
            try:
                started |= self._launcher.launch_together(session, some)
            except Exception as error:
                if _ends_transaction(error):
                    self._suspects.suspect_together(one.event.id for one in some)
                    raise
                if some is together:
                    kind = type(error).__name__
                    log.warning("%d events could not be started together: %s", len(together), kind)
                if len(some) > 1:
                    half = len(some) // 2
                    untried += [some[half:], some[:half]]
        return started

    def _launch(self, session: Session, one: PendingEvent) -> tuple[Started, ...]:
        """Start an event's targets, all or none of them. Raises DispatchFailed, TransactionLost."""
        savepoint = session.begin_nested()
        try:
            started = self._launcher.launch(session, one)
            savepoint.commit()
            return started
        except AlreadyLaunched as error:
            savepoint.rollback()
            return error.started
        except TransactionLost as error:
            self._suspects.convict(one.event.id, error.detail)
            raise
        except DispatchFailed:
            savepoint.rollback()
            raise
        except Exception as error:
            if _ends_transaction(error):
                reason = f"The database refused the run repeatedly: {first_line(error)}"
                self._suspects.suspect(one.event.id, reason)
                raise
            savepoint.rollback()
            raise self._report.unexpected(one.event, error) from error

    def _mark_failure(
        self,
        connection: Connection,
        taken: queue.Taken,
        error: DispatchFailed,
        now: datetime,
        tally: Tally,
    ) -> None:
        event = taken.event
        # Counted from the first failure: an event may have been held, or replayed, long after it came.
        retry_until = taken.retry_until or now + self._retry_for
        if error.retry and now < retry_until:
            waiting_for = queue.awaitable(error.waiting_for)
            queue.mark_failed(
                connection,
                event.id,
                error=error.detail,
                waiting_for=waiting_for,
                due_at=min(now + _pause(taken, waiting_for), retry_until),
                retry_until=retry_until,
            )
            tally.failed += 1
            state = "failed"
        else:
            given_up = f" Given up after {taken.attempts + 1} attempts." if error.retry else ""
            queue.mark_dead(connection, event.id, error=error.detail + given_up, now=now)
            tally.dead += 1
            state = "dead"
        self._report.undone.setdefault(state, []).append(event)

    def _hold_suspended(self, connection: Connection, events: Sequence[Event]) -> set[UUID]:
        """Hold the events of suspended integrations; locked, so that a resume can't miss any."""
        ids = {event.integration_id for event in events}
        suspended = queue.suspended_among(connection, ids, lock=False)
        if suspended:
            suspended = queue.suspended_among(connection, suspended, lock=True)
        if suspended:
            queue.hold(connection, [event.id for event in events if event.integration_id in suspended])
        return suspended

    def _assets_of(self, taken: Sequence[queue.Taken]) -> set[str]:
        known = (self._configurations.get(one.event.version_id) for one in taken)
        return {asset for found in known if found is not None for asset in found.assets}

    def _read_configurations(self, connection: Connection, version_ids: set[UUID]) -> None:
        missing = version_ids - self._configurations.keys()
        if missing:
            if len(self._configurations) + len(missing) > CACHED_CONFIGURATIONS:
                self._configurations.clear()
                missing = version_ids
            self._configurations |= integrations.read_configurations(connection, missing)


def _pause(taken: queue.Taken, waiting_for: str | None) -> timedelta:
    """Return how long an event that failed is left alone."""
    if waiting_for is not None:
        # Spread, lest thousands that wait come at once, and others after them.
        return timedelta(seconds=WAIT + taken.event.id.int % WAIT)
    return timedelta(seconds=min(2**taken.attempts, LONGEST_BACKOFF))


def _ends_transaction(error: Exception) -> bool:
    """Tell whether nothing of a batch can be committed after this error."""
    return isinstance(error, SQLAlchemyError) and isinstance(translate(error), DatabaseUnavailable)
