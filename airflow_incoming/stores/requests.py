"""How many requests came, and the memory of those that became no event.

The memory is bounded, in rows and in days. Ids are UUIDv7 made a moment after the request, so ordering
by id is ordering by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, insert, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from airflow_incoming.core.records import HourCount, RequestRecord
from airflow_incoming.db import tables
from airflow_incoming.stores.events import id_at

_request = tables.request
_hourly = tables.hourly

#: How much is remembered.
MAX_REQUESTS = 2000
MAX_AGE = timedelta(days=7)
MAX_HOURS_AGE = timedelta(days=30)

Counts = Mapping[UUID, Sequence[HourCount]]


def add_counts(connection: Connection, counts: Counts) -> None:
    """Add to what was counted before, by integration and hour."""
    rows = [
        {
            "integration_id": integration_id,
            "hour": count.hour,
            "accepted": count.accepted,
            "duplicates": count.duplicates,
            "rejected": count.rejected,
        }
        for integration_id, hours in sorted(counts.items())  # in one order, so that nobody deadlocks
        for count in sorted(hours, key=lambda count: count.hour)
    ]
    if rows:
        connection.execute(_adding(connection.dialect.name), rows)


def counts(connection: Connection, since: datetime) -> dict[UUID, list[HourCount]]:
    """Return what was counted, by integration, in the hours that begin at ``since`` or later."""
    found: dict[UUID, list[HourCount]] = {}
    query = select(_hourly).where(_hourly.c.hour >= since).order_by(_hourly.c.hour)
    for row in connection.execute(query):
        count = HourCount(
            hour=row.hour, accepted=row.accepted, duplicates=row.duplicates, rejected=row.rejected
        )
        found.setdefault(row.integration_id, []).append(count)
    return found


def remember(connection: Connection, records: Sequence[RequestRecord]) -> None:
    """Add requests that became no event."""
    if records:
        connection.execute(insert(_request), [_values(record) for record in records])


def search(
    connection: Connection,
    *,
    integration: str | None = None,
    outcome: str | None = None,
    since: datetime | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[RequestRecord]:
    """Return remembered requests, newest first; ``before`` is the id that the last page ended with."""
    query = select(_request).order_by(_request.c.id.desc()).limit(limit)
    if integration is not None:
        query = query.where(_request.c.integration == integration)
    if outcome is not None:
        query = query.where(_request.c.outcome == outcome)
    if since is not None:
        query = query.where(_request.c.id >= id_at(since), _request.c.received_at >= since)
    if before is not None:
        query = query.where(_request.c.id < before)
    return [_record(row) for row in connection.execute(query)]


def names_of(connection: Connection, endpoint_ids: Iterable[str]) -> dict[str, tuple[UUID, str]]:
    """Return id and name of the integrations that have these endpoints, drafts included."""
    table = tables.integration
    query = select(table.c.endpoint_id, table.c.id, table.c.name).where(
        table.c.endpoint_id.in_(list(endpoint_ids))
    )
    return {row.endpoint_id: (row.id, row.name) for row in connection.execute(query)}


def purge(connection: Connection, *, now: datetime, limit: int) -> int:
    """Delete up to ``limit`` requests that are too old or too many; return how many."""
    too_many = connection.scalar(
        select(_request.c.id).order_by(_request.c.id.desc()).offset(MAX_REQUESTS).limit(1)
    )
    newest = max(id_at(now - MAX_AGE), too_many or UUID(int=0))
    ids = connection.scalars(
        select(_request.c.id).where(_request.c.id <= newest).order_by(_request.c.id).limit(limit)
    ).all()
    if ids:
        connection.execute(delete(_request).where(_request.c.id.in_(ids)))
    return len(ids)


def purge_hours(connection: Connection, *, now: datetime) -> int:
    """Delete the counts that are too old; return how many."""
    return connection.execute(delete(_hourly).where(_hourly.c.hour < now - MAX_HOURS_AGE)).rowcount


def forget_integration(connection: Connection, integration_id: UUID) -> None:
    """Remove what is kept here of an integration that is deleted."""
    connection.execute(delete(_hourly).where(_hourly.c.integration_id == integration_id))
    connection.execute(delete(_request).where(_request.c.integration_id == integration_id))


def _adding(dialect: str) -> Any:
    names = ("accepted", "duplicates", "rejected")
    if dialect == "mysql":
        statement = mysql.insert(_hourly)
        return statement.on_duplicate_key_update(
            {name: _hourly.c[name] + statement.inserted[name] for name in names}
        )
    upsert = (postgresql if dialect == "postgresql" else sqlite).insert(_hourly)
    return upsert.on_conflict_do_update(
        index_elements=[_hourly.c.integration_id, _hourly.c.hour],
        set_={name: _hourly.c[name] + upsert.excluded[name] for name in names},
    )


def _values(record: RequestRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _FIELDS}


def _record(row: Row[Any]) -> RequestRecord:
    return RequestRecord(**{name: getattr(row, name) for name in _FIELDS})


_FIELDS = tuple(RequestRecord.__dataclass_fields__)
