"""Wakes dispatchers in other processes the moment events are stored: Redis publish and subscribe.

Nothing depends on it. A dispatcher that hears nothing, because Redis is away or there is none, looks
for events by itself every ``dispatch_interval``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.stores.redis_connection import exchange, server_of

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import Client

log = logging.getLogger(__name__)

#: Seconds between two rings at least: a dispatcher that was woken takes all there is.
PAUSE = 0.05
#: Seconds until Redis is tried again after an error, and until a listener notices that it is to stop.
RETRY, PATIENCE = 5.0, 1.0


class Bell:
    """One channel, ``<prefix>:wake``. A process rings it, or listens to it, in a thread of its own."""

    def __init__(self, client: Client, *, prefix: str) -> None:
        self._client = client
        self._channel = f"{prefix}:wake"
        self._rung = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def ring(self) -> None:
        """Wake all who listen; returns at once, from any thread. Does nothing before ``start``."""
        self._rung.set()

    def start(self) -> None:
        """Start the thread that rings."""
        self._start(self._ring)

    def listen(self, wake: Callable[[], None]) -> None:
        """Start a thread that calls ``wake`` whenever somebody rings."""
        self._start(self._hear, wake)

    def stop(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        self._rung.set()
        if self._thread is not None:
            self._thread.join(RETRY)

    def _start(self, run: Callable[..., None], *args: object) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=run, args=args, name="incoming-bell", daemon=True)
        self._thread.start()

    def _ring(self) -> None:
        last = False
        while not last:
            self._rung.wait()
            last = self._stopping.is_set()  # then once more: what was taken in last has rung during a pause
            self._rung.clear()
            try:
                exchange(self._client, [("PUBLISH", self._channel, b"")])
                self._stopping.wait(PAUSE)
            except RedisUnavailable:
                self._stopping.wait(RETRY)  # dispatchers look by themselves meanwhile

    def _hear(self, wake: Callable[[], None]) -> None:
        from redis.exceptions import RedisError

        while not self._stopping.is_set():
            try:
                server = server_of(self._client, self._channel)
                with server.pubsub(ignore_subscribe_messages=True) as heard:
                    heard.subscribe(self._channel)
                    while not self._stopping.is_set():
                        if heard.get_message(timeout=PATIENCE) is not None:
                            wake()
            except (RedisError, OSError) as error:
                log.info("No dispatcher's bell while Redis is away (%s)", type(error).__name__)
                self._stopping.wait(RETRY)
