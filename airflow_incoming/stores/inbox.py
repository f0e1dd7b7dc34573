"""The inbox: accepted events and the claims that decide which of equal requests is the first.

The primary key of the claims arbitrates between all processes: whoever inserts a hash, or takes
over an expired one, owns it; everybody else learns the owner, in the same statement that slides the
window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    bindparam,
    case,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from airflow_incoming.core.messages import Event
from airflow_incoming.db import tables
from airflow_incoming.db.engine import clock_of, insert_new, transaction
from airflow_incoming.stores import inbox_postgresql, integrations

_dedup = tables.dedup


class Inbox:
    """Events and claims in the metadata database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, events: Sequence[Event], *, now: datetime) -> dict[UUID, UUID]:
        """Store the events that are the first of their hash, in one transaction.

        Takes events of which no two have the same hash. Returns for each event's id the id of the event
        that owns its hash: its own where it was stored, the earlier one's for a duplicate. Appending
        the same events again changes nothing and returns the same. Raises DatabaseUnavailable.
        """
        if self._engine.dialect.name == "postgresql":
            owners = inbox_postgresql.append(self._engine, events, now=now)
        else:
            owners = self._append(events, now)
        return {event.id: owners.get(event.id, event.id) for event in events}

    def _append(self, events: Sequence[Event], now: datetime) -> dict[UUID, UUID]:
        with transaction(self._engine) as connection:
            owners = claim(connection, events, now=now)
            first = [event for event in events if owners.get(event.id, event.id) == event.id]
            if first:
                insert_events(connection, first)
        return owners

    def slide(self, windows: Mapping[str, timedelta], *, now: datetime) -> None:
        """Note that these hashes were sent ``now``, under versions with these windows."""
        until = bindparam("b_expires_at", type_=UtcDateTime)
        statement = (
            update(_dedup)
            .where(_dedup.c.hash == bindparam("b_hash"), _dedup.c.last_seen_at < bindparam("b_now"))
            .values(last_seen_at=bindparam("b_now"), expires_at=_later(_dedup.c.expires_at, until))
        )
        rows = [
            {"b_hash": key, "b_now": now, "b_expires_at": now + window}
            for key, window in sorted(windows.items())
        ]
        with transaction(self._engine) as connection:
            connection.execute(statement, rows)


def forget(connection: Connection, hash_: str) -> UUID | None:
    """Remove a claim, so that the next request of this hash is the first. Return who owned it, if anybody.

    Nobody claims the hash anew before this transaction ends.
    """
    query = select(_dedup.c.event_id).where(_dedup.c.hash == hash_).with_for_update()
    owner: UUID | None = connection.scalar(query)
    connection.execute(delete(_dedup).where(_dedup.c.hash == hash_))
    return owner


def claim(connection: Connection, events: Sequence[Event], *, now: datetime) -> dict[UUID, UUID]:
    """Claim the hashes of events; return for each event with a hash the event id that owns it."""
    # Sorted, so that two transactions never wait for each other's hashes in opposite order.
    claims = sorted(
        ((event.claim.hash, event) for event in events if event.claim is not None), key=lambda c: c[0]
    )
    if not claims:
        return {}
    rows = [
        {
            "hash": hash_,
            "integration_id": event.integration_id,
            "event_id": event.id,
            "first_seen_at": now,
            "last_seen_at": now,
            "expires_at": now + event.claim.window,
        }
        for hash_, event in claims
        if event.claim is not None
    ]
    owner_of = _claim_mysql if connection.dialect.name == "mysql" else _claim_returning
    owners = owner_of(connection, rows)
    return {event.id: owners[hash_] for hash_, event in claims}


def purge_claims(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete claims that had expired by this time; return how many were looked at, up to ``limit``.

    Those that a version would still ask for, whose window is longer than that of their making, are kept
    until then.
    """
    query = (
        select(_dedup.c.hash, _dedup.c.integration_id, _dedup.c.last_seen_at)
        .where(_dedup.c.expires_at < before)
        .order_by(_dedup.c.expires_at)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    windows = integrations.longest_windows(connection, {row.integration_id for row in rows})
    until = {row.hash: row.last_seen_at + windows.get(row.integration_id, timedelta()) for row in rows}
    # Checked again: a claim taken over since is younger.
    expired = _dedup.c.expires_at < before
    kept = [{"b_hash": key, "b_until": until[key]} for key in sorted(until) if until[key] >= before]
    if kept:
        keep = update(_dedup).where(_dedup.c.hash == bindparam("b_hash"), expired)
        connection.execute(keep.values(expires_at=bindparam("b_until")), kept)
    gone = [key for key in until if until[key] < before]
    if gone:
        connection.execute(delete(_dedup).where(_dedup.c.hash.in_(gone), expired))
    return len(rows)


def insert_events(connection: Connection, events: Sequence[Event]) -> None:
    """Store events, due at once; those that are stored already stay as they are.

    At once by the database's clock where the receiver's is ahead of it.
    """
    latest: datetime = connection.scalars(select(clock_of(connection))).one()
    connection.execute(insert_new(connection, tables.event), [_row(event, latest) for event in events])


def _claim_returning(connection: Connection, rows: list[dict[str, Any]]) -> dict[str, UUID]:
    statement = _dialect(connection).insert(_dedup)
    takeover = _takeover(statement.excluded, connection.dialect.name)
    upsert = statement.on_conflict_do_update(index_elements=[_dedup.c.hash], set_=dict(takeover)).returning(
        _dedup.c.hash, _dedup.c.event_id
    )
    return {row.hash: row.event_id for row in connection.execute(upsert, rows)}


def _claim_mysql(connection: Connection, rows: list[dict[str, Any]]) -> dict[str, UUID]:
    statement = mysql.insert(_dedup)
    connection.execute(statement.on_duplicate_key_update(_takeover(statement.inserted, "mysql")), rows)
    # A locking read sees the newest rows, where a plain one would see those at the start.
    owners = (
        select(_dedup.c.hash, _dedup.c.event_id)
        .where(_dedup.c.hash.in_([row["hash"] for row in rows]))
        .with_for_update()
    )
    return {row.hash: row.event_id for row in connection.execute(owners)}


def _dialect(connection: Connection) -> Any:
    """Return the module whose ``insert`` knows ON CONFLICT in this database."""
    return postgresql if connection.dialect.name == "postgresql" else sqlite


def _takeover(new: Any, dialect: str) -> list[tuple[str, ColumnElement[Any]]]:
    """Return what happens to a claim that is there: taken over when expired, else kept and slid.

    It has expired when it was last seen a whole window ago, of the version that asks: another one may
    have made it. The order matters on MySQL, where a later assignment sees what an earlier one wrote.
    """
    between = _BETWEEN[dialect]
    unseen = between(_dedup.c.last_seen_at, new.last_seen_at)
    expired = unseen >= between(new.last_seen_at, new.expires_at)
    return [
        ("event_id", case((expired, new.event_id), else_=_dedup.c.event_id)),
        ("first_seen_at", case((expired, new.first_seen_at), else_=_dedup.c.first_seen_at)),
        ("last_seen_at", _later(_dedup.c.last_seen_at, new.last_seen_at)),
        ("expires_at", _later(_dedup.c.expires_at, new.expires_at)),
    ]


#: The time from one moment to another, so that it can be compared.
_BETWEEN: dict[str, Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[Any]]] = {
    "mysql": lambda since, until: func.timestampdiff(text("MICROSECOND"), since, until),
    "sqlite": lambda since, until: func.round((func.julianday(until) - func.julianday(since)) * 86400000),
    "postgresql": lambda since, until: until - since,
}


def _later(old: ColumnElement[Any], new: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((new > old, new), else_=old)


def _row(event: Event, latest: datetime) -> dict[str, Any]:
    return {
        "id": event.id,
        "integration_id": event.integration_id,
        "integration": event.integration,
        "version_id": event.version_id,
        "state": "accepted",
        "received_at": event.received_at,
        "due_at": min(event.received_at, latest),
        "attempts": 0,
        "dedup_hash": None if event.claim is None else event.claim.hash,
        "body": event.body,
        "headers": dict(event.headers),
        "query": event.query,
        "remote": event.remote,
        "replay_of": event.replay_of,
    }
