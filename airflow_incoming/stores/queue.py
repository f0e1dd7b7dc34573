"""The dispatcher's side of the inbox: take a batch, mark what became of it, clean up.

All verbs work in the dispatcher's own transaction: an event's DAG runs and its mark commit together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    func,
    select,
    update,
)

from airflow_incoming.core.messages import Event, Started
from airflow_incoming.core.records import PENDING_STATES
from airflow_incoming.db import tables
from airflow_incoming.stores import queue_postgresql

_event = tables.event

#: Characters of a name in the index of what is awaited: an entry of PostgreSQL's has 2700 bytes at most.
LONGEST_NAME = 600


def has_due(connection: Connection, now: datetime) -> bool:
    """Tell, without locking anything, whether an event is due."""
    # Without an order, PostgreSQL may read the whole table for one: what is due is common, it believes.
    query = select(_event.c.id).where(_event.c.due_at <= now).order_by(_event.c.due_at, _event.c.id).limit(1)
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
    values = {"state": "held", "due_at": None, "waiting_for": None}
    connection.execute(update(_event).where(_event.c.id.in_(ids)).values(values))


def held_for_nothing(connection: Connection) -> list[tuple[UUID, str]]:
    """Return the integrations, by id and name, that have held events and aren't suspended (any more).

    Two looks at an index for each name that events have. Deleted integrations are among them: what they
    hold is older than what another holds that has their name now, so the oldest event says whose turn it is.
    """
    table = tables.integration
    names = _distinct(connection, _event.c.integration).subquery()
    oldest = (
        select(_event.c.integration_id)
        .where(_event.c.integration == names.c.value, _event.c.state == "held")
        .order_by(_event.c.state, _event.c.id)
        .limit(1)
        .scalar_subquery()
    )
    owners = select(oldest.label("id"), names.c.value.label("name")).subquery()
    suspended = select(table.c.id).where(table.c.suspended.is_(True))
    query = select(owners.c.id, owners.c.name).where(owners.c.id.not_in(suspended))
    return [(row.id, row.name) for row in connection.execute(query)]


def release_held(
    connection: Connection, integration_id: UUID, name: str, now: datetime, *, limit: int
) -> int:
    """Make up to ``limit`` held events due, the oldest; return how many.

    Somebody may have suspended the integration just now: then dispatchers hold them again.
    """
    query = _oldest(name, "held", limit).where(_event.c.integration_id == integration_id)
    return _release(connection, query, state="accepted", due_at=now, waiting_for=None)


def states_present(connection: Connection, states: Sequence[str]) -> set[str]:
    """Return which of these states some event is in; a look at the index for each."""
    return {
        state
        for state in states
        if connection.execute(select(_event.c.id).where(_event.c.state == state).limit(1)).first()
    }


def awaitable(name: str | None) -> str | None:
    """Return what an event can wait for: a name that fits into the index of these; else None."""
    return name if name is not None and len(name) <= LONGEST_NAME else None


def awaited(connection: Connection) -> set[str]:
    """Return what failed events wait for: ``dag:<dag id>`` and ``asset:<uri>``."""
    return set(connection.scalars(_distinct(connection, _event.c.waiting_for, _event.c.state == "failed")))


def release_waiting(connection: Connection, name: str, now: datetime, *, limit: int) -> int:
    """Make up to ``limit`` events due at once that waited for what is there now; return how many."""
    # By the index of what is awaited, as in _oldest.
    of = (_event.c.state == "failed", _event.c.waiting_for.between(name, name))
    query = select(_event.c.id).where(*of).order_by(_event.c.waiting_for, _event.c.id).limit(limit)
    return _release(connection, query, due_at=now, waiting_for=None)


def pending_ids(connection: Connection, integration_id: UUID, name: str, *, limit: int) -> list[UUID]:
    """Return up to ``limit`` events of an integration that didn't run yet."""
    ids: list[UUID] = []
    for state in PENDING_STATES:
        query = _oldest(name, state, limit - len(ids)).where(_event.c.integration_id == integration_id)
        ids += connection.scalars(query) if len(ids) < limit else ()
    return ids


def discard(connection: Connection, event_ids: Iterable[UUID], reason: str, now: datetime) -> int:
    """Mark events as dead, after waiting for who has them, unless they ran meanwhile; return how many."""
    ids = list(event_ids)
    statement = (
        update(_event)
        .where(_event.c.id.in_(ids), _event.c.state.in_(PENDING_STATES))
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


def _oldest(integration: str, state: str, limit: int) -> Select[tuple[UUID]]:
    """Return the query for the oldest events in a state, by the index of integrations and states."""
    # A range, and ordered by it: else PostgreSQL may walk by the primary key, through all other events.
    of = (_event.c.integration == integration, _event.c.state.between(state, state))
    return select(_event.c.id).where(*of).order_by(_event.c.state, _event.c.id).limit(limit)


def _release(connection: Connection, query: Select[tuple[UUID]], **values: Any) -> int:
    if connection.dialect.name != "sqlite":
        query = query.with_for_update(skip_locked=True)  # several dispatchers release different ones
    ids = connection.scalars(query).all()
    if ids:
        connection.execute(update(_event).where(_event.c.id.in_(ids)).values(**values))
    return len(ids)


def _distinct(connection: Connection, column: Column[Any], *where: ColumnElement[bool]) -> Select[tuple[str]]:
    """Return the query for the values of a column, by a look at its index for each of them."""
    where = (*where, column.is_not(None))
    if connection.dialect.name == "mysql":  # it does so by itself
        return select(column.label("value")).where(*where).distinct()
    found = select(func.min(column).label("value")).where(*where).cte("found", recursive=True)
    following = select(func.min(column)).where(*where, column > found.c.value).correlate(found)
    found = found.union_all(select(following.scalar_subquery()).where(found.c.value.is_not(None)))
    return select(found.c.value).where(found.c.value.is_not(None))


def _mark(connection: Connection, event_id: UUID, **values: Any) -> None:
    connection.execute(update(_event).where(_event.c.id == event_id).values(**values))
