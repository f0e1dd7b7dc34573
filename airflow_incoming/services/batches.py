"""How many events a dispatcher takes at a time, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from airflow_incoming.stores.queue import Taken

#: Seconds that a batch should take at most: its rows are locked meanwhile, and when it is lost, it is
#: lost whole.
LONGEST_BATCH = 0.25
#: Characters of bodies that are parsed at a time.
PART_SIZE = 2**21


@dataclass(slots=True)
class Tally:
    """What became of the events of some batches."""

    dispatched: int = 0
    failed: int = 0
    dead: int = 0
    held: int = 0

    @property
    def total(self) -> int:
        """Return how many events were taken."""
        return self.dispatched + self.failed + self.dead + self.held

    def add(self, other: Tally) -> None:
        """Add another tally."""
        self.dispatched += other.dispatched
        self.failed += other.failed
        self.dead += other.dead
        self.held += other.held


class BatchSize:
    """Grows and shrinks with how long batches take: one DAG costs a hundred times what another does."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.now = most

    def adapt(self, taken: int, seconds: float) -> None:
        """Choose the size of the next batch by how long ``taken`` events took."""
        if seconds > LONGEST_BATCH:
            self.now = max(1, int(taken * LONGEST_BATCH / seconds))
        elif seconds < LONGEST_BATCH / 2 and taken >= self.now:
            self.now = min(self._most, self.now * 2)


class Stopwatch:
    """Measures what a batch takes; not what is spent with waiting for others, which no size changes."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._begun = monotonic()

    def begin(self) -> None:
        """Begin at zero."""
        self._begun = self._monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds since then, but for the pauses."""
        return self._monotonic() - self._begun

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is done meanwhile."""
        begun = self._monotonic()
        yield
        self._begun += self._monotonic() - begun


def parts(taken: Sequence[Taken]) -> Iterator[list[Taken]]:
    """Yield events in parts whose bodies have a bounded size: parsed, they are many times as large."""
    part: list[Taken] = []
    size = 0
    for one in taken:
        part.append(one)
        size += len(one.event.body)
        if size >= PART_SIZE:
            yield part
            part, size = [], 0
    if part:
        yield part
