"""Rate limits that all processes count together while Redis is up, and each by itself while it isn't."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from airflow_incoming.core.breaker import CircuitBreaker
from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.rates import RateLimiter
from airflow_incoming.core.units import Rate
from airflow_incoming.stores.rates import Ask, RateStore

log = logging.getLogger(__name__)

#: Requests that may wait for Redis, and that one round trip takes; more are counted in this process.
MAX_WAITING = 2000
BATCH = 500
#: Keys that are over their rate, of which this process remembers until when.
CAPACITY = 10_000

_Waiting = tuple[str, Rate, "Future[float]"]


class Rates:
    """Counts requests. ``take`` may be called from any thread, on an event loop too; it never blocks.

    Like the intake, one thread takes whatever is waiting and asks Redis once for all of it. A key that
    is over its rate isn't asked for again before it may conform, so a flood costs Redis nothing.
    ``shared`` None: no Redis, no thread.
    """

    def __init__(self, shared: RateStore | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared
        self._monotonic = monotonic
        self._local = RateLimiter(monotonic)
        self._breaker = CircuitBreaker()
        self._closed: OrderedDict[str, float] = OrderedDict()
        self._queue: deque[_Waiting] = deque()
        self._arrived = threading.Condition()
        self._running = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread that asks Redis."""
        if self._shared is None:
            return
        self._running = True
        self._thread = threading.Thread(
            target=self._run, args=(self._shared,), name="incoming-rates", daemon=True
        )
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Decide what waits (at most ``timeout`` seconds); what comes after is counted here alone."""
        with self._arrived:
            self._running = False
            self._arrived.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def take(self, key: str, rate: Rate) -> Future[float]:
        """Count one request; return a future of 0, or of the seconds after which the key may try again.

        The future never ends with an error.
        """
        future: Future[float] = Future()
        now = self._monotonic()
        with self._arrived:
            wait = self._closed.get(_name(key, rate), now) - now
            if wait <= 0 and self._running and len(self._queue) < MAX_WAITING and self._breaker.allows(now):
                self._queue.append((key, rate, future))
                self._arrived.notify()
                return future
        future.set_result(wait if wait > 0 else self._local.take(_name(key, rate), rate))
        return future

    def _run(self, shared: RateStore) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._queue or not self._running)
                if not self._queue:
                    return
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH))]
            self._decide(shared, batch)

    def _decide(self, shared: RateStore, batch: Sequence[_Waiting]) -> None:
        groups: dict[tuple[str, Rate], list[Future[float]]] = {}
        for key, rate, future in batch:
            groups.setdefault((key, rate), []).append(future)
        asked_at = self._monotonic()
        try:
            grants = shared.take([Ask(key, rate, len(futures)) for (key, rate), futures in groups.items()])
        except RedisUnavailable as error:
            log.warning("%s; rates are counted in each process by itself for a while", error.detail)
            self._breaker.failed(self._monotonic())
            self._decide_alone(groups)
            return
        except Exception:
            log.exception("Could not count %d requests in Redis", len(batch))
            self._decide_alone(groups)
            return
        self._breaker.succeeded()
        for ((key, rate), futures), grant in zip(groups.items(), grants, strict=True):
            if grant.count < len(futures):
                self._close(_name(key, rate), asked_at + grant.wait)
            for number, future in enumerate(futures):
                future.set_result(0.0 if number < grant.count else grant.wait)

    def _decide_alone(self, groups: dict[tuple[str, Rate], list[Future[float]]]) -> None:
        for (key, rate), futures in groups.items():
            for future in futures:
                future.set_result(self._local.take(_name(key, rate), rate))

    def _close(self, name: str, until: float) -> None:
        with self._arrived:
            self._closed[name] = until
            self._closed.move_to_end(name)
            if len(self._closed) > CAPACITY:
                self._closed.popitem(last=False)


def _name(key: str, rate: Rate) -> str:
    return f"{key}:{rate}"  # a rate that was changed begins anew
