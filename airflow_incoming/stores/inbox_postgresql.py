"""The inbox's append on PostgreSQL: one statement for a whole batch, and with psycopg2 one round trip.

Rows travel as one array for each column, so that the statement is the same for every batch, however
large. Claims and events are written by the same statement: an event is stored where its claim, or
nothing, speaks for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from airflow_incoming.core.messages import Event
from airflow_incoming.db.at_once import Statement, run_at_once
from airflow_incoming.db.engine import transaction

#: Characters of bodies in a batch from which on it pays to ask for a faster compression.
LARGE = 64 * 2**10

#: PostgreSQL's own compression takes 20 ms for a megabyte of JSON, lz4 a tenth of that. Servers may be
#: built without it, and those before 14 don't know the setting; then this changes nothing.
_COMPRESS_FAST = """
SELECT set_config(name, 'lz4', true) FROM pg_settings
WHERE name = 'default_toast_compression' AND setting = 'pglz' AND 'lz4' = ANY (enumvals)
"""

_APPEND = """
WITH sent AS MATERIALIZED (
    SELECT * FROM unnest(
        {id}, {integration_id}, {integration}, {version_id}, {received_at}, {hash},
        {expires_at}, {body}, {headers}, {query}, {remote}, {replay_of}
    ) AS sent (
        id, integration_id, integration, version_id, received_at, hash,
        expires_at, body, headers, query, remote, replay_of
    )
), claimed AS (
    -- Sorted, so that two transactions never wait for each other's hashes in opposite order.
    INSERT INTO incoming_dedup AS old
        (hash, integration_id, event_id, first_seen_at, last_seen_at, expires_at)
    SELECT hash, integration_id, id, {now}, {now}, expires_at
    FROM sent WHERE hash IS NOT NULL ORDER BY hash
    ON CONFLICT (hash) DO UPDATE SET
        -- Expired when last seen a whole window ago, of the version that asks: another one may have made it.
        event_id = CASE
            WHEN excluded.last_seen_at - old.last_seen_at >= excluded.expires_at - excluded.last_seen_at
            THEN excluded.event_id ELSE old.event_id END,
        first_seen_at = CASE
            WHEN excluded.last_seen_at - old.last_seen_at >= excluded.expires_at - excluded.last_seen_at
            THEN excluded.first_seen_at ELSE old.first_seen_at END,
        last_seen_at = greatest(old.last_seen_at, excluded.last_seen_at),
        expires_at = greatest(old.expires_at, excluded.expires_at)
    RETURNING hash, event_id
), stored AS (
    INSERT INTO incoming_event (
        id, integration_id, integration, version_id, state, received_at, due_at, attempts,
        dedup_hash, body, headers, query, remote, replay_of
    )
    -- Due at once: by our clock, where the receiver's is ahead of it.
    SELECT id, integration_id, integration, version_id, 'accepted', received_at, least(received_at, now()), 0,
        hash, body, headers, query, remote, replay_of
    FROM sent LEFT JOIN claimed USING (hash)
    WHERE hash IS NULL OR claimed.event_id = sent.id
    ON CONFLICT (id) DO NOTHING
)
SELECT sent.id, claimed.event_id FROM sent JOIN claimed USING (hash) WHERE claimed.event_id <> sent.id
"""

_TYPES = {
    **dict.fromkeys(("id", "integration_id", "version_id", "replay_of"), "uuid[]"),
    **dict.fromkeys(("integration", "hash", "body", "query", "remote"), "text[]"),
    **dict.fromkeys(("received_at", "expires_at"), "timestamptz[]"),
    "headers": "json[]",
    "now": "timestamptz",
}
_GIVEN = {name: f"CAST(%({name})s AS {type_})" for name, type_ in _TYPES.items()}
_NUMBERED = {name: f"${number}" for number, name in enumerate(_TYPES, 1)}
_STATEMENT = Statement.named_after_its_text(
    "incoming_append",
    types=_TYPES.values(),
    plain=_APPEND.format(**_GIVEN),
    prepared=_APPEND.format(**_NUMBERED),
    given=_GIVEN.values(),
)


def append(engine: Engine, events: Sequence[Event], *, now: datetime) -> dict[UUID, UUID]:
    """See :meth:`airflow_incoming.stores.inbox.Inbox.append`; returns the owners of duplicates alone."""
    arrays = _arrays(events, now)
    is_large = sum(len(event.body) for event in events) > LARGE
    before = [_COMPRESS_FAST] if is_large else []
    rows: Sequence[Any]
    if engine.dialect.driver == "psycopg2":
        rows = run_at_once(engine, _STATEMENT, arrays, before=before)
    else:
        with transaction(engine) as connection:
            for statement in before:
                connection.exec_driver_sql(statement)
            rows = connection.exec_driver_sql(_STATEMENT.plain, arrays).all()
    return {_uuid(event_id): _uuid(owner) for event_id, owner in rows}


def _arrays(events: Sequence[Event], now: datetime) -> dict[str, Any]:
    """Return the parameters. Of bodies psycopg2 makes an array, of all else we do: in a third of the time."""
    claims = [event.claim for event in events]
    return {
        "now": now,
        "id": _array(event.id.hex for event in events),
        "integration_id": _array(event.integration_id.hex for event in events),
        "integration": _array(_quoted(event.integration) for event in events),
        "version_id": _array(event.version_id.hex for event in events),
        "received_at": _array(event.received_at.isoformat() for event in events),
        "hash": _array(None if claim is None else claim.hash for claim in claims),
        "expires_at": _array(None if claim is None else (now + claim.window).isoformat() for claim in claims),
        "body": [event.body for event in events],
        "headers": _array(_quoted(json.dumps(dict(event.headers))) for event in events),
        "query": _array(_quoted(event.query) for event in events),
        "remote": _array(None if event.remote is None else _quoted(event.remote) for event in events),
        "replay_of": _array(None if event.replay_of is None else event.replay_of.hex for event in events),
    }


def _array(elements: Iterable[str | None]) -> str:
    """Return an array as PostgreSQL reads it; elements are quoted, or have no character special to it."""
    return "{" + ",".join("NULL" if element is None else element for element in elements) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _uuid(value: UUID | str) -> UUID:
    """Return what the driver gave, which depends on the driver."""
    return value if isinstance(value, UUID) else UUID(value)
