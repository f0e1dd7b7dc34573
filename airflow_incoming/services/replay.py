"""Looking at events and sending them once more; forgetting deduplication hashes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

import uuid6
from sqlalchemy import Engine

from airflow_incoming.core.errors import NotFound
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event
from airflow_incoming.core.records import EventRecord
from airflow_incoming.db.engine import reading, transaction
from airflow_incoming.stores import events, inbox, integrations
from airflow_incoming.stores.dedup import DedupMemory
from airflow_incoming.stores.events import Criteria

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What replaying an event did: queued it again, or copied it to a new event (``new_id``)."""

    event_id: UUID
    action: Literal["requeued", "copied", "pending"]
    new_id: UUID | None = None


Replays = list[Replay]


class EventDesk:
    """What an administrator does with events."""

    def __init__(self, engine: Engine, memory: DedupMemory | None, *, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._memory = memory
        self._clock = clock

    def list(self, criteria: Criteria) -> list[EventRecord]:
        """Return events, newest first."""
        with reading(self._engine) as connection:
            return events.search(connection, criteria)

    def show(self, event_id: UUID) -> EventRecord:
        """Return one event with everything. Raises NotFound."""
        with reading(self._engine) as connection:
            found = events.read(connection, event_id)
        if found is None:
            raise NotFound("event", str(event_id))
        return found

    def configuration_of(self, record: EventRecord) -> Configuration | None:
        """Return the configuration that an event was accepted under; None where it is gone."""
        with reading(self._engine) as connection:
            return integrations.read_configurations(connection, [record.version_id]).get(record.version_id)

    def replay(self, event_ids: Sequence[UUID], *, by: str) -> Replays:
        """Send events once more; deduplication doesn't apply. Raises NotFound, replaying none.

        A failed or dead event is queued again under its own id, since nothing of it ran. A
        dispatched one is copied to a new event, because an event runs once; the copy runs under the
        version that is published now. An event that still waits is left alone.
        """
        now = self._clock()
        with transaction(self._engine) as connection:
            found = {event_id: events.read(connection, event_id) for event_id in event_ids}
            for event_id, record in found.items():
                if record is None:
                    raise NotFound("event", str(event_id))
            requeued = events.requeue(connection, list(found), now)
            published = {
                item.id: item.published.id for item in integrations.list_all(connection) if item.published
            }
            copies = {
                record.id: _copy(record, published.get(record.integration_id), now)
                for record in found.values()
                if record is not None and record.state == "dispatched"
            }
            if copies:
                inbox.insert_events(connection, list(copies.values()))
        log.info("%s replayed %d events", by, len(requeued) + len(copies))
        return [_replay(event_id, requeued, copies) for event_id in found]

    def forget(self, hash_: str, *, by: str) -> bool:
        """Forget a deduplication hash, so that the next request of it runs. Tell if it was known.

        Raises RedisUnavailable, then it may not be forgotten yet: try again.
        """
        known = inbox.Inbox(self._engine).forget(hash_)
        if self._memory is not None:
            self._memory.forget(hash_)
        log.info("%s made us forget deduplication hash %s", by, hash_)
        return known


def event_of(record: EventRecord) -> Event:
    """Return the event of a whole record."""
    return Event(
        id=record.id,
        integration_id=record.integration_id,
        integration=record.integration,
        version_id=record.version_id,
        received_at=record.received_at,
        body=record.body or "",
        headers=record.headers or {},
        query=record.query,
        remote=record.remote,
        replay_of=record.replay_of,
    )


def _copy(record: EventRecord, version_id: UUID | None, now: datetime) -> Event:
    return replace(
        event_of(record),
        id=uuid6.uuid7(),
        version_id=version_id or record.version_id,
        received_at=now,
        replay_of=record.id,
    )


def _replay(event_id: UUID, requeued: set[UUID], copies: dict[UUID, Event]) -> Replay:
    if event_id in requeued:
        return Replay(event_id=event_id, action="requeued")
    if event_id in copies:
        return Replay(event_id=event_id, action="copied", new_id=copies[event_id].id)
    return Replay(event_id=event_id, action="pending")
