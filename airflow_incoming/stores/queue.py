"""The dispatcher's side of the inbox: take a batch, mark what became of it, clean up.

All verbs work in the dispatcher's own transaction: an event's DAG runs and its mark commit together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from airflow_incoming.core.messages import Event, Started
from airflow_incoming.db import tables
from airflow_incoming.stores import queue_postgresql

_event = tables.event


def has_due(connection: Connection, now: datetime) -> bool:
    """Tell, without locking anything, whether an event is due."""
    query = select(_event.c.id).where(_event.c.due_at <= now).limit(1)
    return connection.execute(query).first() is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """A due event, how often it was tried, and until when it is tried again (None: it never failed)."""

    event: Event
    attempts: int
    retry_until: datetime | None


def take(connection: Connection, *, limit: int, now: datetime) -> list[Taken]:
    """Return due events, oldest first; nobody else gets them meanwhile."""
    query = select(_event).where(_event.c.due_at <= now).order_by(_event.c.due_at, _event.c.id).limit(limit)
    if connection.dialect.name != "sqlite":  # there, the transaction itself is exclusive
        query = query.with_for_update(skip_locked=True)
    # Else MySQL may rather sort the whole table, and lock every due event in it.
    query = query.with_hint(_event, "FORCE INDEX (incoming_event_due_idx)", "mysql")
    return [
        Taken(event=to_event(row), attempts=row.attempts, retry_until=row.retry_until)
        for row in connection.execute(query)
    ]


def suspended_among(connection: Connection, integration_ids: Iterable[UUID], *, lock: bool) -> set[UUID]:
    """Return which integrations are suspended; with ``lock`` none is resumed meanwhile."""
    table = tables.integration
    query = select(table.c.id).where(table.c.suspended.is_(True), table.c.id.in_(list(integration_ids)))
    if lock and connection.dialect.name != "sqlite":
        query = query.with_for_update(read=True)
    return set(connection.scalars(query))


def mark_dispatched(connection: Connection, started: Mapping[UUID, Sequence[Started]], now: datetime) -> None:
    """Mark events as done, with what each started."""
    if not started:
        return
    if connection.dialect.name == "postgresql":
        queue_postgresql.mark_dispatched(connection, started, now)
        return
    statement = (
        update(_event)
        .where(_event.c.id == bindparam("b_id"))
        .values(
            state="dispatched",
            due_at=None,
            error=None,
            waiting_for=None,
            ended_at=now,
            attempts=_event.c.attempts + 1,
            started=bindparam("b_started"),
        )
    )
    rows = [{"b_id": key, "b_started": [asdict(s) for s in value]} for key, value in started.items()]
    connection.execute(statement, rows)


def mark_failed(
    connection: Connection,
    event_id: UUID,
    *,
    error: str,
    waiting_for: str | None,
    due_at: datetime,
    retry_until: datetime,
) -> None:
    """Keep an event for another attempt at ``due_at``, and others until ``retry_until``."""
    _mark(
        connection,
        event_id,
        state="failed",
        error=error,
        waiting_for=waiting_for,
        due_at=due_at,
        retry_until=retry_until,
        attempts=_event.c.attempts + 1,
    )


def mark_dead(connection: Connection, event_id: UUID, *, error: str, now: datetime) -> None:
    """Give an event up; it stays until it is replayed or its retention ends."""
    _mark(
        connection,
        event_id,
        state="dead",
        error=error,
        waiting_for=None,
        due_at=None,
        ended_at=now,
        attempts=_event.c.attempts + 1,
    )


def hold(connection: Connection, event_ids: Iterable[UUID]) -> None:
    """Keep events of a suspended integration until it is resumed."""
    ids = list(event_ids)
    connection.execute(update(_event).where(_event.c.id.in_(ids)).values(state="held", due_at=None))


def release_held(connection: Connection, now: datetime, integration_id: UUID | None = None) -> int:
    """Make held events due whose integration isn't suspended (any more); return how many."""
    table = tables.integration
    suspended = select(table.c.id).where(table.c.suspended.is_(True))
    statement = (
        update(_event)
        .where(_event.c.state == "held", _event.c.integration_id.not_in(suspended))
        .values(state="accepted", due_at=now)
    )
    if integration_id is not None:
        statement = statement.where(_event.c.integration_id == integration_id)
    return connection.execute(statement).rowcount


def states_present(connection: Connection, states: Sequence[str]) -> set[str]:
    """Return which of these states some event is in; a look at the index for each."""
    return {
        state
        for state in states
        if connection.execute(select(_event.c.id).where(_event.c.state == state).limit(1)).first()
    }


def awaited(connection: Connection) -> set[str]:
    """Return what failed events wait for: ``dag:<dag id>`` and ``asset:<uri>``."""
    query = (
        select(_event.c.waiting_for)
        .where(_event.c.state == "failed", _event.c.waiting_for.is_not(None))
        .distinct()
    )
    return {name for name in connection.scalars(query) if name is not None}


def release_waiting(connection: Connection, names: Iterable[str], now: datetime) -> int:
    """Make events due at once that waited for what is there now; return how many."""
    statement = (
        update(_event)
        .where(_event.c.state == "failed", _event.c.waiting_for.in_(list(names)))
        .values(due_at=now, waiting_for=None)
    )
    return connection.execute(statement).rowcount


def discard_pending(connection: Connection, integration_id: UUID, reason: str, now: datetime) -> int:
    """Mark every event of an integration that didn't run yet as dead; return how many."""
    statement = (
        update(_event)
        .where(
            _event.c.integration_id == integration_id,
            _event.c.state.in_(("accepted", "held", "failed")),
        )
        .values(state="dead", due_at=None, waiting_for=None, error=reason, ended_at=now)
    )
    return connection.execute(statement).rowcount


def purge_events(connection: Connection, *, state: str, before: datetime, limit: int) -> int:
    """Delete up to ``limit`` events of a state that ended before this time; return how many."""
    ended = (_event.c.state == state, _event.c.ended_at < before)
    ids = connection.scalars(select(_event.c.id).where(*ended).order_by(_event.c.ended_at).limit(limit)).all()
    if ids:
        # Checked again: an event that was replayed since is wanted.
        connection.execute(delete(_event).where(_event.c.id.in_(ids), *ended))
    return len(ids)


def purge_claims(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete up to ``limit`` claims that expired before this time; return how many."""
    table = tables.dedup
    hashes = connection.scalars(
        select(table.c.hash).where(table.c.expires_at < before).order_by(table.c.expires_at).limit(limit)
    ).all()
    if hashes:
        # Checked again: a claim taken over since is younger.
        connection.execute(delete(table).where(table.c.hash.in_(hashes), table.c.expires_at < before))
    return len(hashes)


def to_event(row: Row[Any]) -> Event:
    """Return the event of a full row."""
    return Event(
        id=row.id,
        integration_id=row.integration_id,
        integration=row.integration,
        version_id=row.version_id,
        received_at=row.received_at,
        body=row.body,
        headers=row.headers,
        query=row.query,
        remote=row.remote,
        replay_of=row.replay_of,
    )


def _mark(connection: Connection, event_id: UUID, **values: Any) -> None:
    connection.execute(update(_event).where(_event.c.id == event_id).values(**values))
