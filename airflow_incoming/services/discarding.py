"""The events that a deleted integration leaves: discarded in several transactions where they are many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Engine

from airflow_incoming.core.records import Integration
from airflow_incoming.db.engine import reading, transaction
from airflow_incoming.stores import queue

#: Events that one statement discards at most: it has to end long before its timeout.
ROWS = 2000


def are_many(engine: Engine, found: Integration) -> bool:
    """Tell whether more events wait than one statement discards."""
    with reading(engine) as connection:
        return len(_pending(connection, found)) == ROWS


def discard_many(engine: Engine, found: Integration, reason: str, now: datetime) -> int:
    """Discard what waits, in many transactions; return how many. Does not stop others from coming."""
    discarded = 0
    while True:
        with transaction(engine) as connection:
            ids = _pending(connection, found)
            if not ids:
                return discarded
            discarded += queue.discard(connection, ids, reason, now)


def discard_rest(connection: Connection, found: Integration, reason: str, now: datetime) -> int:
    """Discard what waits, in the transaction that deletes the integration; return how many."""
    discarded = 0
    while ids := _pending(connection, found):
        discarded += queue.discard(connection, ids, reason, now)
    return discarded


def _pending(connection: Connection, found: Integration) -> Sequence[UUID]:
    return queue.pending_ids(connection, found.id, found.name, limit=ROWS)
