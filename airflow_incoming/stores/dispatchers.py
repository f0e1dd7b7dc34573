"""Which dispatchers are alive: each refreshes a row of its own while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select, update

from airflow_incoming.db import tables

_dispatcher = tables.dispatcher


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """The last sign of life of one dispatcher."""

    id: UUID
    host: str
    pid: int
    started_at: datetime
    beat_at: datetime


def beat(connection: Connection, sign: Beat) -> None:
    """Record a sign of life."""
    changed = connection.execute(
        update(_dispatcher).where(_dispatcher.c.id == sign.id).values(beat_at=sign.beat_at)
    )
    if changed.rowcount == 0:
        connection.execute(
            insert(_dispatcher).values(
                id=sign.id,
                host=sign.host,
                pid=sign.pid,
                started_at=sign.started_at,
                beat_at=sign.beat_at,
            )
        )


def leave(connection: Connection, dispatcher_id: UUID) -> None:
    """Remove a dispatcher that stops."""
    connection.execute(delete(_dispatcher).where(_dispatcher.c.id == dispatcher_id))


def forget_silent(connection: Connection, before: datetime) -> None:
    """Remove dispatchers that gave no sign of life since."""
    connection.execute(delete(_dispatcher).where(_dispatcher.c.beat_at < before))


def read_all(connection: Connection) -> list[Beat]:
    """Return all dispatchers, the liveliest first."""
    query = select(_dispatcher).order_by(_dispatcher.c.beat_at.desc())
    return [
        Beat(id=row.id, host=row.host, pid=row.pid, started_at=row.started_at, beat_at=row.beat_at)
        for row in connection.execute(query)
    ]
