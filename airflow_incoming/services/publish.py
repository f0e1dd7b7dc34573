"""Accepted events → Redis streams, for waiting tasks and watched assets: all of them, at least once.

A dispatcher publishes an event in the transaction of its first attempt to dispatch it, before the
commit: whatever happens, an event that was tried is in its stream, or its id is in the outbox, from
where it is published as soon as Redis can be reached. Dispatching waits for Redis no longer than the
client's timeout, and after a failure not at all for a while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine

from airflow_incoming.core.breaker import CircuitBreaker
from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event
from airflow_incoming.core.stream import entry_of
from airflow_incoming.db.engine import reading, transaction
from airflow_incoming.stores import integrations, outbox
from airflow_incoming.stores.stream import EventStream

log = logging.getLogger(__name__)

#: Events that one transaction publishes from the outbox.
BATCH = 32
#: When Redis has lost its memory, so many events of this time are published anew.
ANEW = timedelta(hours=1)
MOST_ANEW = 10_000


class Publisher:
    """Publishes for one dispatcher; belongs to its thread."""

    def __init__(
        self,
        engine: Engine,
        stream: EventStream,
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._stream = stream
        self._clock = clock
        self._monotonic = monotonic
        self._breaker = CircuitBreaker()

    def publish(
        self,
        connection: Connection,
        events: Sequence[Event],
        configurations: Mapping[UUID, Configuration],
    ) -> None:
        """Publish events now, or else note in this transaction that they are to be published later."""
        if events and not self._try(events, configurations):
            outbox.add(connection, [event.id for event in events])

    def catch_up(self) -> bool:
        """Tell Redis what there is, and publish a batch of the outbox; tell whether there is more.

        Raises DatabaseUnavailable.
        """
        if not self._breaker.allows(self._monotonic()):
            return False
        with reading(self._engine) as connection:
            names = integrations.read_names(connection)
        try:
            remembers = self._stream.announce(names)
        except RedisUnavailable as error:
            self._failed(error)
            return False
        if not remembers:
            self._publish_anew()
        with reading(self._engine) as connection:
            if outbox.is_empty(connection):
                return False
        return self._publish_batch()

    def _publish_batch(self) -> bool:
        with transaction(self._engine) as connection:
            ids, events = outbox.take(connection, limit=BATCH)
            configurations = integrations.read_configurations(
                connection, {event.version_id for event in events}
            )
            # One by one: a batch of large ones could be too slow for ever.
            published = all(self._try([event], configurations) for event in events)
            if published:
                outbox.remove(connection, ids)
        return published and len(ids) == BATCH

    def _publish_anew(self) -> None:
        """Put into the outbox what Redis may have held before it lost its memory."""
        with transaction(self._engine) as connection:
            count = outbox.add_since(connection, self._clock() - ANEW, limit=MOST_ANEW)
        if count:
            log.warning("Redis remembers nothing: %d events of the last hour are published anew", count)

    def _try(self, events: Sequence[Event], configurations: Mapping[UUID, Configuration]) -> bool:
        if not self._breaker.allows(self._monotonic()):
            return False
        try:
            self._stream.publish([entry_of(event, configurations.get(event.version_id)) for event in events])
        except RedisUnavailable as error:
            self._failed(error)
            return False
        self._breaker.succeeded()
        return True

    def _failed(self, error: RedisUnavailable) -> None:
        log.warning("%s Tasks and assets that wait for events get them later.", error.detail)
        self._breaker.failed(self._monotonic())
