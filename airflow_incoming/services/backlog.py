"""What waits to be taken in: bounded, and in two lanes, so that nobody waits behind large bodies.

A batch takes small events first and then, for one transaction never long, few bytes of large ones: at
least one, so that they move on, too. Not locked; its owner is.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from airflow_incoming.core.messages import Event, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class BacklogLimits:
    """How much may wait (events, characters of bodies, seconds), and how much one batch takes.

    A body of more than ``small`` characters is a large one; a batch ends with the large event that
    brings it to ``batch_bytes``.
    """

    backlog: int = 2000
    backlog_bytes: int = 64 * 2**20
    wait: float = 10.0
    batch: int = 256
    batch_bytes: int = 2 * 2**20
    small: int = 16 * 2**10


class Waiting(NamedTuple):
    """An event, who waits for it, and since when (monotonic seconds)."""

    event: Event
    future: Future[Outcome]
    arrived: float


class Backlog:
    """Events in the order of their arrival, lane by lane."""

    def __init__(self, limits: BacklogLimits) -> None:
        self._limits = limits
        self._small: deque[Waiting] = deque()
        self._large: deque[Waiting] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._small) + len(self._large)

    def add(self, one: Waiting) -> bool:
        """Let an event wait; tell whether there was room."""
        size = len(one.event.body)
        if len(self) >= self._limits.backlog or self._bytes + size > self._limits.backlog_bytes:
            return False
        (self._small if size <= self._limits.small else self._large).append(one)
        self._bytes += size
        return True

    def take(self) -> list[Waiting]:
        """Return the next batch; empty where nothing waits."""
        batch: list[Waiting] = []
        size = 0
        while self._small and len(batch) < self._limits.batch:
            size += self._move(self._small, batch)
        if self._large:  # whatever the small ones take
            size += self._move(self._large, batch)
        while self._large and len(batch) < self._limits.batch and size < self._limits.batch_bytes:
            size += self._move(self._large, batch)
        return batch

    def _move(self, lane: deque[Waiting], batch: list[Waiting]) -> int:
        one = lane.popleft()
        batch.append(one)
        self._bytes -= len(one.event.body)
        return len(one.event.body)
