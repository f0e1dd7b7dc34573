"""A few threads of our own for calls that block: Airflow's synchronous routes live on the shared ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from airflow_incoming.core.errors import Overloaded

T = TypeVar("T")

#: Threads for what blocks (tokens, health, the start), and how many calls may wait for them.
THREADS = 4
MAX_WAITING = 64


class Threads:
    """Runs calls; none is waited for longer than whoever asked for it wants to."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="incoming-web")
        self._places = threading.BoundedSemaphore(THREADS + MAX_WAITING)

    def start(self, call: Callable[[], T]) -> Future[T]:
        """Return a future of what the call returns. Raises Overloaded where too many wait already."""
        if not self._places.acquire(blocking=False):
            raise Overloaded()
        future = self._pool.submit(call)
        future.add_done_callback(lambda _: self._places.release())
        return future

    async def run(self, call: Callable[[], T]) -> T:
        """Return what the call returns, however long that takes. Raises Overloaded, too."""
        return await asyncio.wrap_future(self.start(call))
