"""Events that could not be published to Redis, and wait in the database until they can be.

All verbs work in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, exists, insert, select

from airflow_incoming.core.messages import Event
from airflow_incoming.db import tables
from airflow_incoming.stores.queue import to_event

#: How far the time in an id may be from the time of receipt.
SLACK = timedelta(minutes=2)

_event = tables.event
_unpublished = tables.unpublished


def add(connection: Connection, event_ids: Iterable[UUID]) -> None:
    """Keep events to be published later."""
    rows = [{"event_id": event_id} for event_id in event_ids]
    if rows:
        connection.execute(insert(_unpublished), rows)


def add_since(connection: Connection, since: datetime, *, limit: int) -> int:
    """Keep the newest events that were received since then and published; return how many."""
    oldest = UUID(int=int((since - SLACK).timestamp() * 1000) << 80)
    found = connection.scalars(
        select(_event.c.id)
        .where(_event.c.id >= oldest, _event.c.received_at >= since, _event.c.attempts > 0)
        .where(~exists().where(_unpublished.c.event_id == _event.c.id))
        .order_by(_event.c.id.desc())
        .limit(limit)
    ).all()
    add(connection, found)
    return len(found)


def is_empty(connection: Connection) -> bool:
    """Tell, without locking anything, whether everything is published."""
    return connection.execute(select(_unpublished.c.event_id).limit(1)).first() is None


def take(connection: Connection, *, limit: int) -> tuple[list[UUID], list[Event]]:
    """Return ids that are kept, oldest first, and those of their events that there are still.

    Nobody else gets them meanwhile.
    """
    query = select(_unpublished.c.event_id).order_by(_unpublished.c.event_id).limit(limit)
    if connection.dialect.name != "sqlite":  # there, the transaction itself is exclusive
        query = query.with_for_update(skip_locked=True)
    ids = list(connection.scalars(query))
    rows = connection.execute(select(_event).where(_event.c.id.in_(ids)).order_by(_event.c.id))
    return ids, [to_event(row) for row in rows]


def remove(connection: Connection, event_ids: Sequence[UUID]) -> None:
    """Forget events that were published."""
    connection.execute(delete(_unpublished).where(_unpublished.c.event_id.in_(event_ids)))
