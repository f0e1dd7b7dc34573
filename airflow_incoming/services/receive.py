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

from airflow_incoming.core.addresses import sender_of
from airflow_incoming.core.admission import AdmissionPolicy, admit, screen
from airflow_incoming.core.errors import Overloaded, RateLimited, Stopping, Unauthorized, Undecided
from airflow_incoming.core.messages import Endpoint, Event, Listener, Outcome, Request
from airflow_incoming.core.rates import RateLimiter
from airflow_incoming.core.units import Rate
from airflow_incoming.services.ids import make_id
from airflow_incoming.services.rates import Rates
from airflow_incoming.stores.directory import Directory, Snapshot

log = logging.getLogger(__name__)

#: Bytes, objects and arrays up to which a body is parsed at once, on the caller's thread: half a
#: millisecond. A heavier one would hold up the event loop, so it is parsed on another thread.
INLINE_BODY = 16 * 1024
INLINE_CONTAINERS = 500
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
        rates: Rates,
        failure_rate: Rate,
        accept_timeout: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._intake = intake
        self._policy = policy
        self._capturing = capturing
        self._tally = tally
        self._clock = clock
        self._rates = rates
        self._failure_rate = failure_rate
        self._lines = RateLimiter(monotonic)
        self._accept_timeout = accept_timeout
        self._monotonic = monotonic
        self._large = ThreadPoolExecutor(THREADS, thread_name_prefix="incoming-large")
        self._small = ThreadPoolExecutor(1, thread_name_prefix="incoming-small")
        self._waiting = 0
        self._waiting_bytes = 0
        self._lock = threading.Lock()

    def receive(self, request: Request) -> Future[Outcome]:
        """Return a future that ends with an Outcome, or with an error of :mod:`core.errors`."""
        snapshot, light = self._directory.current(), _is_light(request.body)
        if snapshot is not None and light:
            return self._decide(request, snapshot)
        if not self._enter(len(request.body)):
            return self._refuse(request, Overloaded())
        future: Future[Outcome] = Future()
        # Small ones, which wait for the directory alone, don't wait behind large ones, too.
        pool = self._small if light else self._large
        try:
            pool.submit(self._decide_later, request, future, self._monotonic())
        except RuntimeError:  # the pool is closed
            self._leave(len(request.body))
            future.set_exception(Stopping())
        return future

    def screen(self, head: Request) -> Endpoint | Future[Outcome] | None:
        """Look at a request whose body isn't there yet, and of which nothing else was done.

        Return the endpoint that it is let in to, a future of its refusal (as ``receive`` returns one), or
        None where only ``receive`` can tell, or what is known is too old (see ``refresh``).
        """
        snapshot = self._directory.current()
        if snapshot is None:
            return None
        now = self._clock()
        try:
            endpoint = _endpoint(head, snapshot, snapshot.listener(head.endpoint_id, now))
            return endpoint if screen(head, endpoint, self._policy, now=now) else None
        except Unauthorized as error:
            return self._turn_away(head, error, endpoint.name)
        except Exception as error:  # noqa: BLE001 - the adapter answers it, whatever it is
            return self._refuse(head, error)

    def refresh(self) -> Future[Snapshot] | None:
        """Return a future after which ``screen`` may tell more; None where it wouldn't."""
        return self._directory.awaited()

    def close(self) -> None:
        """Stop the threads; requests that come later are refused."""
        self._large.shutdown(wait=False)
        self._small.shutdown(wait=False)

    def _decide(self, request: Request, snapshot: Snapshot) -> Future[Outcome]:
        try:
            now = self._clock()
            listener = snapshot.listener(request.endpoint_id, now)
            endpoint = _endpoint(request, snapshot, listener)
            event = admit(request, endpoint, self._policy, now=now, event_id=make_id())
            future = self._pass_on(event, endpoint, listener)
        except Unauthorized as error:
            return self._turn_away(request, error, endpoint.name)
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

    def _pass_on(self, event: Event, endpoint: Endpoint, listener: Listener | None) -> Future[Outcome]:
        if listener is None:
            return self._take_in(event, endpoint.configuration.limits.rate)
        if listener.draft:
            return self._capturing.take(listener, event)
        self._capturing.copy(listener, event)
        return self._take_in(event, endpoint.configuration.limits.rate)

    def _take_in(self, event: Event, rate: Rate | None) -> Future[Outcome]:
        """Hand an event to the intake, unless its integration is over its rate."""
        if rate is None:
            return self._intake.submit(event)
        taken = self._rates.take(f"integration:{event.integration_id}", rate)
        return then(taken, partial(self._take_in_if_conforming, event, rate))

    def _take_in_if_conforming(self, event: Event, rate: Rate, wait: float) -> Future[Outcome]:
        if wait > 0:
            raise RateLimited(wait, f"More than {rate} requests came for this endpoint.")
        return self._intake.submit(event)

    def _turn_away(self, request: Request, error: Unauthorized, integration: str) -> Future[Outcome]:
        """Refuse a bad credential: with a 401, or with a 429 where many came from its address.

        Good ones are never counted, so nobody is shut out by a stranger behind the same proxy; nor is
        a sender whose token has expired, who has to learn that to get another.
        """
        sender = sender_of(request.remote)
        if not error.stranger:
            # Whoever goes on all the same fills no log: as many lines are written as of strangers.
            if self._lines.take(sender, self._failure_rate) == 0:
                _log_refusal(integration, error)
            return self._refuse(request, error)
        taken = self._rates.take(f"credential:{sender}", self._failure_rate)
        return then(taken, partial(self._turn_away_counted, request, error, integration))

    def _turn_away_counted(
        self, request: Request, error: Unauthorized, integration: str, wait: float
    ) -> Future[Outcome]:
        if wait > 0:
            told = "Too many requests without a valid credential came from this address."
            return self._refuse(request, RateLimited(wait, told))
        _log_refusal(integration, error)
        return self._refuse(request, error)

    def _refuse(self, request: Request, error: Exception) -> Future[Outcome]:
        self._tally.refused(request.endpoint_id, error, remote=request.remote, size=request.size)
        future: Future[Outcome] = Future()
        future.set_exception(error)
        return future


def _log_refusal(integration: str, error: Unauthorized) -> None:
    log.warning("Refused a request for %s: %s", integration, error.reason)


def _endpoint(request: Request, snapshot: Snapshot, listener: Listener | None) -> Endpoint:
    if listener is not None and listener.draft:
        return listener.endpoint
    return snapshot.endpoint(request.endpoint_id)


def _is_light(body: bytes) -> bool:
    """Tell whether a body takes hardly any time to be parsed."""
    return len(body) <= INLINE_BODY and body.count(b"[") + body.count(b"{") <= INLINE_CONTAINERS


def then(first: Future[float], go_on: Callable[[float], Future[Outcome]]) -> Future[Outcome]:
    """Return a future of what ``go_on`` comes to with the result of ``first``, which never fails.

    Where that is there already, ``go_on`` is called at once and may raise.
    """
    if first.done():
        return go_on(first.result())
    future: Future[Outcome] = Future()
    first.add_done_callback(lambda done: _go_on(go_on, done.result(), future))
    return future


def _go_on(go_on: Callable[[float], Future[Outcome]], result: float, future: Future[Outcome]) -> None:
    try:
        inner = go_on(result)
    except Exception as error:  # noqa: BLE001 - the adapter answers it, whatever it is
        inner = Future()
        inner.set_exception(error)
    inner.add_done_callback(lambda done: _copy(done, future))


def _copy(done: Future[Outcome], future: Future[Outcome]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())
