"""A container that is started once, by whoever needs it first: the lifespan or a request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from airflow_incoming.core.errors import Stopping, Unavailable
from airflow_incoming.web.ports import Container

log = logging.getLogger(__name__)

#: Seconds after a failed start in which requests are refused without another attempt.
RETRY_START_AFTER = 1.0


class RunningContainer:
    """Starts a container at most once at a time, from any thread.

    A start that failed is tried again, so that an Airflow whose database comes up later needs no
    restart; it is not tried for every request.
    """

    def __init__(self, factory: Callable[[], Container]) -> None:
        self._factory = factory
        self._lock = threading.Lock()
        self._running: Container | None = None
        self._stopped = False
        self._failed_at = float("-inf")

    @property
    def running(self) -> Container | None:
        """The container where it runs; never blocks."""
        return self._running

    def open(self) -> Container:
        """Start, also after :meth:`close`. Raises what the factory or the start raised."""
        with self._lock:
            self._stopped = False
            return self._start()

    def get(self) -> Container:
        """Return the running container, starting it if needed; may block.

        Raises Stopping after :meth:`close`, and Unavailable where it can't be started.
        """
        if self._running is not None:
            return self._running
        with self._lock:
            if self._stopped:
                raise Stopping()
            if time.monotonic() - self._failed_at < RETRY_START_AFTER:
                raise Unavailable()
            try:
                return self._start()
            except Exception as error:
                self._failed_at = time.monotonic()
                log.exception("The receiver could not be started; the next request tries again")
                raise Unavailable() from error

    def close(self) -> None:
        """Stop what runs; later requests are refused. Never raises."""
        with self._lock:
            self._stopped = True
            container, self._running = self._running, None
            if container is None:
                return
            try:
                container.stop()
            except Exception:
                log.exception("The receiver did not stop cleanly")

    def _start(self) -> Container:
        if self._running is None:
            container = self._factory()
            container.start()
            self._running = container
        return self._running
