"""Events to store."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import count
from uuid import UUID, uuid4

import uuid6

from airflow_incoming.core.messages import Claim, Event

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
WEEK = timedelta(days=7)
INTEGRATION = UUID("11111111-1111-4111-8111-111111111111")
VERSION = UUID("22222222-2222-4222-8222-222222222222")


def make_event(
    hash_: str | None = None,
    *,
    window: timedelta = WEEK,
    received_at: datetime = NOW,
    integration_id: UUID = INTEGRATION,
    version_id: UUID = VERSION,
    body: str = '{"order": {"id": 7}}',
) -> Event:
    return Event(
        id=id_of(received_at),
        integration_id=integration_id,
        integration="orders",
        version_id=version_id,
        received_at=received_at,
        body=body,
        headers={"content-type": "application/json"},
        claim=None if hash_ is None else Claim(hash=hash_, window=window),
    )


def id_of(received_at: datetime) -> UUID:
    """Return an id as an event of that time has: UUIDv7 begins with the milliseconds.

    One millisecond later than the last one, so that ids made one after the other keep their order.
    """
    milliseconds = int(received_at.timestamp() * 1000) + next(_made)
    return UUID(int=(milliseconds << 80) | (uuid6.uuid7().int & ((1 << 80) - 1)))


_made = count()


def random_hash() -> str:
    return uuid4().hex * 2
