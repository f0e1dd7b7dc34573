"""A deadline for the current task, as asyncio.timeout(), which Python 3.10 lacks.

anyio has one too, which costs five times as much; every request pays it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from airflow_incoming.core.errors import BodyTimeout


class Deadline:
    """Raises BodyTimeout in the task that is inside the block for too long."""

    __slots__ = ("_expired", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if not self._expired:
            return
        uncancel = getattr(self._task, "uncancel", None)  # Python 3.11: tells others' cancels from ours
        others = uncancel() if uncancel is not None else 0
        if kind is asyncio.CancelledError and not others:
            raise BodyTimeout(f"The request body did not arrive within {self._seconds:g} seconds.") from None

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()
