"""What waits to be taken in, bounded in number and size. Not locked; its owner is."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from airflow_incoming.core.messages import Event, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class BacklogLimits:
    """How much may wait (events, characters of bodies, seconds), and how much one batch takes.

    A batch ends with the event that brings it to ``batch_bytes``.
    """

    backlog: int = 2000
    backlog_bytes: int = 64 * 2**20
    wait: float = 10.0
    batch: int = 256
    batch_bytes: int = 4 * 2**20


class Waiting(NamedTuple):
    """An event, who waits for it, and since when (monotonic seconds)."""

    event: Event
    future: Future[Outcome]
    arrived: float


class Backlog:
    """Events in the order of their arrival."""

    def __init__(self, limits: BacklogLimits) -> None:
        self._limits = limits
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, one: Waiting) -> bool:
        """Let an event wait; tell whether there was room."""
        size = len(one.event.body)
        if len(self) >= self._limits.backlog or self._bytes + size > self._limits.backlog_bytes:
            return False
        self._waiting.append(one)
        self._bytes += size
        return True

    def take(self) -> list[Waiting]:
        """Return the next batch; empty where nothing waits."""
        batch: list[Waiting] = []
        size = 0
        while self._waiting and len(batch) < self._limits.batch and size < self._limits.batch_bytes:
            one = self._waiting.popleft()
            batch.append(one)
            size += len(one.event.body)
        self._bytes -= size
        return batch
