"""The fast memory as this database has it: under its own name, and only while that is certain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from uuid import UUID

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.stores.dedup import DedupMemory, Known, Memory, Remembered


class OwnMemory:
    """A :class:`DedupMemory`. ``find`` returns the name in Redis, and whether what is there is trusted now.

    None: there is no name yet. ``connect`` returns the memory of a name.
    """

    def __init__(
        self, connect: Callable[[str], DedupMemory], find: Callable[[], tuple[str, bool] | None]
    ) -> None:
        self._connect = connect
        self._find = find
        self._last: tuple[str, DedupMemory] | None = None

    def look(self, windows: Mapping[str, timedelta]) -> dict[str, Known]:
        """Return what is known; nothing while it isn't trusted."""
        memory = self._trusted()
        return {} if memory is None else memory.look(windows)

    def peek(self, hashes: Iterable[str]) -> dict[str, Remembered]:
        """Return what is known. Raises RedisUnavailable while it isn't trusted, too."""
        memory = self._trusted()
        if memory is None:
            raise RedisUnavailable("What Redis remembers isn't certain to be of this database")
        return memory.peek(hashes)

    def remember(self, memories: Iterable[Memory]) -> None:
        """Remember hashes; nothing happens while the name isn't certain to be ours."""
        memory = self._trusted()
        if memory is not None:
            memory.remember(memories)

    def forget(self, hash_: str, event_id: UUID | None) -> None:
        """Forget a hash, also where what is there isn't trusted at the moment."""
        found = self._find()
        if found is not None:
            self._memory(found[0]).forget(hash_, event_id)

    def ping(self) -> None:
        """See :class:`DedupMemory`."""
        self._connect("ping").ping()

    def _trusted(self) -> DedupMemory | None:
        found = self._find()
        return self._memory(found[0]) if found is not None and found[1] else None

    def _memory(self, name: str) -> DedupMemory:
        last = self._last
        if last is None or last[0] != name:
            last = self._last = name, self._connect(name)
        return last[1]
