"""Asset events that DAGs still wait to get, and up to which asset event all were seen.

All verbs work in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select, update

from airflow_incoming.db import tables

_unconsumed = tables.unconsumed
_mark = tables.asset_event_mark


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """All asset events up to ``seen`` were seen, but for those ``missing``: id → when it was missed first."""

    seen: int
    missing: Mapping[int, datetime]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unconsumed:
    """An asset event, made ``since`` then for an event of ours, that a DAG still waits to get."""

    dag_id: str
    asset_event_id: int
    event_id: UUID
    since: datetime


def read_mark(connection: Connection) -> Mark | None:
    """Return the mark; None before the first look."""
    row = connection.execute(select(_mark)).first()
    return None if row is None else _to_mark(row.seen, row.missing)


def lock_mark(connection: Connection) -> Mark | None:
    """Return the mark, nobody else's until the transaction ends; None where it is somebody else's now."""
    query = select(_mark)
    if connection.dialect.name != "sqlite":  # there, the transaction itself is exclusive
        query = query.with_for_update(skip_locked=True)
    row = connection.execute(query).first()
    return None if row is None else _to_mark(row.seen, row.missing)


def begin(connection: Connection, seen: int) -> None:
    """Set the first mark. Raises IntegrityError where another dispatcher was faster."""
    connection.execute(insert(_mark).values(id=1, seen=seen, missing={}))


def move(connection: Connection, mark: Mark) -> None:
    """Set the mark."""
    missing = {str(number): at.isoformat() for number, at in mark.missing.items()}
    connection.execute(update(_mark).values(seen=mark.seen, missing=missing))


def add(connection: Connection, found: Iterable[Unconsumed]) -> None:
    """Note what DAGs wait to get, each once."""
    rows = [
        {
            "dag_id": one.dag_id,
            "asset_event_id": one.asset_event_id,
            "event_id": one.event_id,
            "since": one.since,
        }
        for one in found
    ]
    if rows:
        connection.execute(insert(_unconsumed), rows)


def remove(connection: Connection, dag_id: str, asset_event_ids: Sequence[int]) -> None:
    """Forget what a DAG has got, or is never to get."""
    connection.execute(
        delete(_unconsumed).where(
            _unconsumed.c.dag_id == dag_id, _unconsumed.c.asset_event_id.in_(asset_event_ids)
        )
    )


def is_empty(connection: Connection) -> bool:
    """Tell whether no DAG waits for anything."""
    return connection.execute(select(_unconsumed.c.dag_id).limit(1)).first() is None


def of_event(connection: Connection, event_id: UUID) -> list[Unconsumed]:
    """Return which DAGs wait to get an event, and as which asset events."""
    query = select(_unconsumed).where(_unconsumed.c.event_id == event_id)
    return [Unconsumed(**row) for row in connection.execute(query).mappings()]


def _to_mark(seen: int, missing: Mapping[str, str]) -> Mark:
    return Mark(
        seen=seen, missing={int(number): datetime.fromisoformat(at) for number, at in missing.items()}
    )
