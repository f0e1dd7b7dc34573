"""Inbox → DAG runs: one transaction for the runs of a batch and the marks of its events.

Any number of dispatchers may run, as threads of api-servers or as processes; the database gives
each event to one of them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from airflow_incoming.core.conf import conf_of
from airflow_incoming.core.errors import (
    AlreadyLaunched,
    DatabaseUnavailable,
    DispatchFailed,
    TransactionLost,
)
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event, PendingEvent, Started
from airflow_incoming.db.engine import reading, translate
from airflow_incoming.stores import integrations, queue

log = logging.getLogger(__name__)

#: Seconds between attempts: 1, 2, 4 … up to this. What waits for a DAG is tried when it appears.
LONGEST_BACKOFF = 300
#: Configurations kept in memory; versions never change.
CACHED_CONFIGURATIONS = 1000
#: How often an event may meet a database error before it is taken for its cause.
SUSPICIONS = 3


class Launcher(Protocol):
    """Makes DAG runs and asset events in the caller's transaction."""

    def prepare(self, session: Session, pending: Sequence[PendingEvent]) -> None:
        """Read once what the whole batch needs."""

    def launch(
        self, session: Session, event: Event, configuration: Configuration, conf: Mapping[str, Any]
    ) -> tuple[Started, ...]:
        """Start every target of an event. Raises DispatchFailed, AlreadyLaunched, TransactionLost."""

    def ready(self, session: Session, dag_ids: Collection[str], asset_uris: Collection[str]) -> set[str]:
        """Return which targets could be served now, as ``dag:<dag id>`` and ``asset:<uri>``."""

    def announce(self) -> None:
        """Tell listeners what was committed."""

    def discard(self) -> None:
        """Forget what was not committed."""


class EventPublisher(Protocol):
    """Shows accepted events to tasks and assets that wait for them."""

    def publish(
        self,
        connection: Connection,
        events: Sequence[Event],
        configurations: Mapping[UUID, Configuration],
    ) -> None:
        """Publish events, or note in the caller's transaction that this is still to be done."""


@dataclass(slots=True)
class Tally:
    """What became of the events of some batches."""

    dispatched: int = 0
    failed: int = 0
    dead: int = 0
    held: int = 0

    @property
    def total(self) -> int:
        """Return how many events were taken."""
        return self.dispatched + self.failed + self.dead + self.held

    def add(self, other: Tally) -> None:
        """Add another tally."""
        self.dispatched += other.dispatched
        self.failed += other.failed
        self.dead += other.dead
        self.held += other.held


class Dispatcher:
    """Dispatches due events, a batch in each transaction."""

    def __init__(
        self,
        engine: Engine,
        launcher: Launcher,
        *,
        clock: Callable[[], datetime],
        batch: int = 32,
        retry_for: timedelta = timedelta(days=1),
        publisher: EventPublisher | None = None,
    ) -> None:
        self._engine = engine
        self._launcher = launcher
        self._clock = clock
        self._batch = batch
        self._retry_for = retry_for
        self._publisher = publisher
        self._configurations: dict[UUID, Configuration] = {}
        #: Events that ended a whole batch, and why: in the next one they are set aside.
        self._spoilers: dict[UUID, str] = {}
        self._suspicions: Counter[UUID] = Counter()

    def dispatch_batch(self) -> Tally:
        """Dispatch one batch; an empty tally means that nothing was due.

        Raises DatabaseUnavailable; then nothing of the batch happened, or all of it where the
        connection broke during COMMIT.
        """
        with reading(self._engine) as connection:
            if not queue.has_due(connection, self._clock()):
                return Tally()
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
        self._launcher.announce()
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
        connection = session.connection()
        taken = queue.take(connection, limit=self._batch, now=now)
        suspended = self._hold_suspended(connection, [one.event for one in taken])
        tally = Tally(held=sum(one.event.integration_id in suspended for one in taken))
        taken = [one for one in taken if one.event.integration_id not in suspended]
        configurations = self._read_configurations(connection, {one.event.version_id for one in taken})
        pending = [
            PendingEvent(event=one.event, configuration=configurations[one.event.version_id])
            for one in taken
            if one.event.version_id in configurations
        ]
        self._launcher.prepare(session, pending)
        started: dict[UUID, tuple[Started, ...]] = {}
        for one in taken:
            try:
                started[one.event.id] = self._launch(session, one.event, configurations)
                tally.dispatched += 1
            except DispatchFailed as error:
                self._mark_failure(connection, one, error, now, tally)
        queue.mark_dispatched(connection, started, now)
        if self._publisher is not None:
            first_tried = [one.event for one in taken if one.attempts == 0]
            self._publisher.publish(connection, first_tried, configurations)
        return tally

    def _launch(
        self, session: Session, event: Event, configurations: Mapping[UUID, Configuration]
    ) -> tuple[Started, ...]:
        """Start an event's targets, all or none of them. Raises DispatchFailed, TransactionLost."""
        configuration = configurations.get(event.version_id)
        if configuration is None:
            raise DispatchFailed("This release can't read the integration's configuration.", retry=True)
        if event.id in self._spoilers:
            raise DispatchFailed(self._spoilers.pop(event.id), retry=True)
        savepoint = session.begin_nested()
        try:
            conf = conf_of(event, configuration)
            started = self._launcher.launch(session, event, configuration, conf)
            savepoint.commit()
            return started
        except AlreadyLaunched as error:
            savepoint.rollback()
            return error.started
        except TransactionLost as error:
            self._spoilers[event.id] = error.detail
            raise
        except DispatchFailed:
            savepoint.rollback()
            raise
        except Exception as error:
            if isinstance(error, SQLAlchemyError) and isinstance(translate(error), DatabaseUnavailable):
                self._suspect(event, error)
                raise  # nothing of this batch can be committed
            savepoint.rollback()
            log.exception("Event %s of %s could not be dispatched", event.id, event.integration)
            raise DispatchFailed(
                f"Airflow could not create the run ({type(error).__name__}: {_first_line(error)}). "
                "The server's log has the details.",
                retry=True,
            ) from error

    def _suspect(self, event: Event, error: Exception) -> None:
        """Set an event aside that the database has refused several times, lest it spoil every batch."""
        self._suspicions[event.id] += 1
        if self._suspicions[event.id] >= SUSPICIONS:
            self._suspicions.clear()
            self._spoilers[event.id] = f"The database refused the run repeatedly: {_first_line(error)}"

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
            pause = LONGEST_BACKOFF if error.waiting_for else min(2**taken.attempts, LONGEST_BACKOFF)
            queue.mark_failed(
                connection,
                event.id,
                error=error.detail,
                waiting_for=error.waiting_for,
                due_at=now + timedelta(seconds=pause),
                retry_until=retry_until,
            )
            tally.failed += 1
        else:
            given_up = f" Given up after {taken.attempts + 1} attempts." if error.retry else ""
            queue.mark_dead(connection, event.id, error=error.detail + given_up, now=now)
            tally.dead += 1
        # The reason may quote the payload, so it is kept with the event and not logged.
        log.warning("Event %s of %s could not be dispatched", event.id, event.integration)

    def _hold_suspended(self, connection: Connection, events: Sequence[Event]) -> set[UUID]:
        """Hold the events of suspended integrations; locked, so that a resume can't miss any."""
        ids = {event.integration_id for event in events}
        suspended = queue.suspended_among(connection, ids, lock=False)
        if suspended:
            suspended = queue.suspended_among(connection, suspended, lock=True)
        if suspended:
            queue.hold(connection, [event.id for event in events if event.integration_id in suspended])
        return suspended

    def _read_configurations(
        self, connection: Connection, version_ids: set[UUID]
    ) -> Mapping[UUID, Configuration]:
        missing = version_ids - self._configurations.keys()
        if missing:
            if len(self._configurations) + len(missing) > CACHED_CONFIGURATIONS:
                self._configurations.clear()
                missing = version_ids
            self._configurations |= integrations.read_configurations(connection, missing)
        return self._configurations


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
