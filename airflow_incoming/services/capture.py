"""Keeps the request that somebody waits for who retrieves data."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

from sqlalchemy import Engine

from airflow_incoming.core.errors import EndpointNotFound, Stopping
from airflow_incoming.core.messages import Event, Listener, Outcome
from airflow_incoming.core.records import Captured
from airflow_incoming.db.engine import transaction
from airflow_incoming.stores import listening

log = logging.getLogger(__name__)

#: Listeners that this process has served; the oldest are forgotten, and then the database says no.
MAX_SERVED = 1000


class Capturing:
    """Stores the first request to each listener, on a thread of its own.

    Every listener is served once by a process, so that a flood costs the database one statement; which
    process is the first, the database decides.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._served: dict[UUID, None] = {}
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="incoming-capture")

    def take(self, listener: Listener, event: Event) -> Future[Outcome]:
        """Return a future of what becomes of a request to a draft.

        It ends with ``captured``; with EndpointNotFound where another one was first or this one comes
        too late; or with DatabaseUnavailable.
        """
        refused: Future[Outcome] = Future()
        if not self._begin(listener.id):
            refused.set_exception(EndpointNotFound())
            return refused
        try:
            return self._thread.submit(self._store, listener, event)
        except RuntimeError:  # the thread is stopped
            refused.set_exception(Stopping())
            return refused

    def copy(self, listener: Listener, event: Event) -> None:
        """Keep a copy of a request to a live endpoint, as well as that goes: never blocks or raises."""
        if not self._begin(listener.id):
            return
        try:
            self._thread.submit(self._store, listener, event).add_done_callback(_tell)
        except RuntimeError:
            log.debug("A request to %s came too late to be kept", event.integration)

    def close(self) -> None:
        """Stop the thread, after what it has in hand."""
        self._thread.shutdown(wait=False)

    def _begin(self, listener_id: UUID) -> bool:
        if listener_id in self._served:  # most often, and without waiting for anybody
            return False
        with self._lock:
            if listener_id in self._served:
                return False
            self._served[listener_id] = None
            if len(self._served) > MAX_SERVED:
                del self._served[next(iter(self._served))]
            return True

    def _store(self, listener: Listener, event: Event) -> Outcome:
        captured = Captured(
            captured_at=event.received_at,
            body=event.body,
            headers=event.headers,
            query=event.query,
            remote=event.remote,
        )
        try:
            with transaction(self._engine) as connection:
                first = listening.capture(connection, listener.id, event.integration_id, captured)
        except Exception:
            with self._lock:
                self._served.pop(listener.id, None)  # the next request may try again
            raise
        if not first:
            raise EndpointNotFound()
        return Outcome(status="captured")


def _tell(done: Future[Outcome]) -> None:
    error = done.exception()
    if error is not None and not isinstance(error, EndpointNotFound):
        log.warning("A request could not be kept for whoever retrieves data: %s", type(error).__name__)
