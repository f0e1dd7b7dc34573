"""Looking events up, and sending them once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select, update

from airflow_incoming.core.messages import Started
from airflow_incoming.core.records import Backlog, EventRecord
from airflow_incoming.db import tables

_event = tables.event
_LISTED = [column for column in _event.c if column.name not in ("body", "headers", "query")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """Which events to list, newest first; ``before`` is the id that the last page ended with."""

    integration: str | None = None
    states: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    dedup_hash: str | None = None
    before: UUID | None = None
    limit: int = 50


def search(connection: Connection, criteria: Criteria) -> list[EventRecord]:
    """Return the newest events that meet the criteria, without bodies and headers."""
    query = select(*_LISTED).order_by(_event.c.id.desc()).limit(criteria.limit)
    if criteria.integration is not None:
        query = query.where(_event.c.integration == criteria.integration)
    if criteria.states:
        query = query.where(_event.c.state.in_(criteria.states))
    if criteria.since is not None:
        query = query.where(_event.c.received_at >= criteria.since)
    if criteria.until is not None:
        query = query.where(_event.c.received_at < criteria.until)
    if criteria.dedup_hash is not None:
        query = query.where(_event.c.dedup_hash == criteria.dedup_hash)
    if criteria.before is not None:
        query = query.where(_event.c.id < criteria.before)
    return [_record(row) for row in connection.execute(query)]


def read(connection: Connection, event_id: UUID) -> EventRecord | None:
    """Return one event with everything."""
    row = connection.execute(select(_event).where(_event.c.id == event_id)).one_or_none()
    return None if row is None else _record(row)


def requeue(connection: Connection, event_ids: Sequence[UUID], now: datetime) -> set[UUID]:
    """Make failed and dead events due at once; return which of the given ones were."""
    query = select(_event.c.id).where(_event.c.id.in_(event_ids), _event.c.state.in_(("failed", "dead")))
    if connection.dialect.name != "sqlite":
        query = query.with_for_update()
    ids = set(connection.scalars(query))
    connection.execute(
        update(_event)
        .where(_event.c.id.in_(ids))
        .values(state="accepted", due_at=now, waiting_for=None, error=None, retry_until=None, ended_at=None)
    )
    return ids


def backlog(connection: Connection) -> Backlog:
    """Count what waits."""
    counts = {
        row.state: (row.events, row.oldest)
        for row in connection.execute(
            select(
                _event.c.state,
                func.count().label("events"),
                func.min(_event.c.received_at).label("oldest"),
            )
            .where(_event.c.state.in_(("accepted", "failed", "dead", "held")))
            .group_by(_event.c.state)
        )
    }
    nothing = (0, None)
    return Backlog(
        waiting=counts.get("accepted", nothing)[0],
        failed=counts.get("failed", nothing)[0],
        dead=counts.get("dead", nothing)[0],
        held=counts.get("held", nothing)[0],
        oldest=counts.get("accepted", nothing)[1],
    )


def _record(row: Row[Any]) -> EventRecord:
    fields = dict(row._mapping)
    fields["started"] = tuple(Started(**item) for item in fields["started"] or ())
    return EventRecord(**{name: fields[name] for name in fields if name in _RECORD_FIELDS})


_RECORD_FIELDS = frozenset(EventRecord.__dataclass_fields__)
