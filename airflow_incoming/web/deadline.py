"""Deadlines of equal length for many tasks at once, with one timer for all of them.

Every request pays for these. A timer of its own costs as much as half the rest of the guard, and
asyncio.timeout() isn't there on Python 3.10.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from airflow_incoming.core.errors import BodyTimeout, Stopping, Undecided

log = logging.getLogger(__name__)
T = TypeVar("T")


class Deadlines:
    """Calls back whoever still waits ``seconds`` after it began to."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        #: In the order in which they end, because all are equally long.
        self._waiting: dict[object, tuple[float, Callable[[], None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, key: object, expire: Callable[[], None]) -> None:
        """Call ``expire`` in the running loop in time, unless ``end`` comes first."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the one before is closed, and its timer with it
            self._loop, self._timer = loop, None
            self._waiting.clear()
        self._waiting[key] = (loop.time() + self.seconds, expire)
        if self._timer is None:
            self._timer = loop.call_later(self.seconds, self._look, loop)

    def end(self, key: object) -> None:
        """Forget a deadline; the timer stays for the next."""
        self._waiting.pop(key, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._waiting:
            key, (at, expire) = next(iter(self._waiting.items()))
            if at > loop.time():
                self._timer = loop.call_at(at, self._look, loop)
                return
            del self._waiting[key]
            expire()


class Deadline:
    """Raises BodyTimeout in the task that is inside the block for too long."""

    __slots__ = ("_deadlines", "_expired", "_task")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._expired = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._deadlines.begin(self, self._expire)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.end(self)
        if not self._expired:
            return
        uncancel = getattr(self._task, "uncancel", None)  # Python 3.11: tells others' cancels from ours
        others = uncancel() if uncancel is not None else 0
        if kind is asyncio.CancelledError and not others:
            seconds = self._deadlines.seconds
            raise BodyTimeout(f"The request body did not arrive within {seconds:g} seconds.") from None

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()


async def wait_for(future: Future[T], deadlines: Deadlines) -> T:
    """Return the future's result. Raises its error, or Undecided at the deadline.

    Unlike asyncio.wrap_future() it never cancels the future, whatever becomes of the request: the
    event may be in the middle of being committed.
    """
    if not future.done():
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        future.add_done_callback(partial(_wake_in_loop, loop, woken))
        deadlines.begin(woken, partial(_wake, woken))
        try:
            await woken
        finally:
            deadlines.end(woken)
        if not future.done():
            log.warning("A request was still undecided after %s seconds", deadlines.seconds)
            raise Undecided()
    try:
        return future.result()
    except CancelledError as error:
        raise Stopping() from error


def _wake_in_loop(loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None], _: Future[Any]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_wake, woken)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
