"""Request → future of what became of it: the one receiver behind every adapter."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Protocol

import uuid6

from airflow_incoming.core.admission import AdmissionPolicy, admit
from airflow_incoming.core.errors import Overloaded, RateLimited, Stopping, Unauthorized, Undecided
from airflow_incoming.core.messages import Endpoint, Event, Listener, Outcome, Request
from airflow_incoming.core.rates import RateLimiter
from airflow_incoming.stores.directory import Directory, Snapshot

log = logging.getLogger(__name__)

#: Bytes up to which a body is parsed at once, on the caller's thread. A larger one would hold up
#: the event loop, so it is parsed on another thread.
INLINE_BODY = 16 * 1024
#: Threads for large bodies, and how much may wait for other threads: requests, and bytes of bodies.
THREADS = 2
MAX_WAITING = 1000
MAX_WAITING_BYTES = 64 * 2**20


class TakesEvents(Protocol):
    """The intake, as the receiver sees it."""

    def submit(self, event: Event) -> Future[Outcome]:
        """Return a future of what becomes of the event."""


class KeepsCaptures(Protocol):
    """Keeps what somebody waits for who retrieves data."""

    def take(self, listener: Listener, event: Event) -> Future[Outcome]:
        """Return a future of what becomes of a request to a draft."""

    def copy(self, listener: Listener, event: Event) -> None:
        """Keep a copy of a request to a live endpoint; doesn't block."""


class Counts(Protocol):
    """The tally, as the receiver sees it: it neither blocks nor raises."""

    def settled(self, event: Event, size: int, future: Future[Outcome]) -> None:
        """Take note of what became of an admitted request."""

    def refused(self, path: str, error: Exception, *, remote: str | None, size: int) -> None:
        """Take note of a refused request."""


class Receiver:
    """Decides requests. ``receive`` never blocks and may be called from any thread."""

    def __init__(
        self,
        directory: Directory,
        intake: TakesEvents,
        policy: AdmissionPolicy,
        *,
        capturing: KeepsCaptures,
        tally: Counts,
        clock: Callable[[], datetime],
        limiter: RateLimiter,
        accept_timeout: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._intake = intake
        self._policy = policy
        self._capturing = capturing
        self._tally = tally
        self._clock = clock
        self._limiter = limiter
        self._accept_timeout = accept_timeout
        self._monotonic = monotonic
        self._large = ThreadPoolExecutor(THREADS, thread_name_prefix="incoming-large")
        self._small = ThreadPoolExecutor(1, thread_name_prefix="incoming-small")
        self._waiting = 0
        self._waiting_bytes = 0
        self._lock = threading.Lock()

    def receive(self, request: Request) -> Future[Outcome]:
        """Return a future that ends with an Outcome, or with an error of :mod:`core.errors`."""
        snapshot = self._directory.current()
        if snapshot is not None and len(request.body) <= INLINE_BODY:
            return self._decide(request, snapshot)
        if not self._enter(len(request.body)):
            return self._refuse(request, Overloaded())
        future: Future[Outcome] = Future()
        # Small ones, which wait for the directory alone, don't wait behind large ones, too.
        pool = self._small if len(request.body) <= INLINE_BODY else self._large
        try:
            pool.submit(self._decide_later, request, future, self._monotonic())
        except RuntimeError:  # the pool is closed
            self._leave(len(request.body))
            future.set_exception(Stopping())
        return future

    def close(self) -> None:
        """Stop the threads; requests that come later are refused."""
        self._large.shutdown(wait=False)
        self._small.shutdown(wait=False)

    def _decide(self, request: Request, snapshot: Snapshot) -> Future[Outcome]:
        try:
            now = self._clock()
            listener = snapshot.listener(request.endpoint_id, now)
            if listener is not None and listener.draft:
                event = self._admit(request, listener.endpoint, now)
                future = self._capturing.take(listener, event)
            else:
                event = self._admit(request, snapshot.endpoint(request.endpoint_id), now)
                if listener is not None:
                    self._capturing.copy(listener, event)
                future = self._intake.submit(event)
        except Exception as error:  # noqa: BLE001 - the adapter answers it, whatever it is
            return self._refuse(request, error)
        future.add_done_callback(partial(self._tally.settled, event, len(request.body)))
        return future

    def _decide_later(self, request: Request, future: Future[Outcome], arrived: float) -> None:
        try:
            if self._monotonic() - arrived > self._accept_timeout:
                raise Undecided()  # the sender was told so already
            inner = self._decide(request, self._directory.fresh())
        except Exception as error:  # noqa: BLE001 - the adapter answers it, whatever it is
            inner = self._refuse(request, error)
        finally:
            self._leave(len(request.body))
        inner.add_done_callback(lambda done: _copy(done, future))

    def _enter(self, size: int) -> bool:
        """Take a place among those that wait; tell whether there was one."""
        with self._lock:
            if self._waiting >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
                return False
            self._waiting += 1
            self._waiting_bytes += size
            return True

    def _leave(self, size: int) -> None:
        with self._lock:
            self._waiting -= 1
            self._waiting_bytes -= size

    def _admit(self, request: Request, endpoint: Endpoint, now: datetime) -> Event:
        try:
            event = admit(request, endpoint, self._policy, now=now, event_id=uuid6.uuid7())
        except Unauthorized as error:
            log.warning("Refused a request for %s: %s", endpoint.name, error.reason)
            raise
        self._check_rate(endpoint)
        return event

    def _refuse(self, request: Request, error: Exception) -> Future[Outcome]:
        self._tally.refused(request.endpoint_id, error, remote=request.remote, size=len(request.body))
        future: Future[Outcome] = Future()
        future.set_exception(error)
        return future

    def _check_rate(self, endpoint: Endpoint) -> None:
        rate = endpoint.configuration.limits.rate
        if rate is None:
            return
        wait = self._limiter.take(str(endpoint.integration_id), rate)
        if wait > 0:
            raise RateLimited(wait, f"More than {rate} requests came for this endpoint.")


def _copy(done: Future[Outcome], future: Future[Outcome]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())
