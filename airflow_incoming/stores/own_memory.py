"""The fast memory as this database has it: under its own name, and only while that is certain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from uuid import UUID

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.stores.dedup import DedupMemory, Known, Memory, Remembered


class OwnMemory:
    """A :class:`DedupMemory`. ``find`` returns the name in Redis, and whether what is there is trusted now.

    None: there is no name yet. ``connect`` returns the memory of a name. Whoever looks before deciding has
    one of these alone.
    """

    def __init__(
        self, connect: Callable[[str], DedupMemory], find: Callable[[], tuple[str, bool] | None]
    ) -> None:
        self._connect = connect
        self._find = find
        self._last: tuple[str, DedupMemory] | None = None
        #: The name under which was last looked, empty where it wasn't trusted; None: nobody ever looks here.
        self._looked: str | None = None

    def look(self, windows: Mapping[str, timedelta]) -> dict[str, Known]:
        """Return what is known; nothing while it isn't trusted."""
        found = self._trusted()
        self._looked = found[0] if found is not None else ""
        return {} if found is None else found[1].look(windows)

    def peek(self, hashes: Iterable[str]) -> dict[str, Remembered]:
        """Return what is known. Raises RedisUnavailable while it isn't trusted, too."""
        found = self._trusted()
        if found is None:
            raise RedisUnavailable("What Redis remembers isn't certain to be of this database")
        return found[1].peek(hashes)

    def remember(self, memories: Iterable[Memory]) -> None:
        """Remember hashes; nothing happens while the name isn't certain to be ours.

        Nor where it is another than before it was decided: what was forgotten since is noted under that one.
        """
        found = self._trusted()
        if found is not None and self._looked in (None, found[0]):
            found[1].remember(memories)

    def forget(self, hash_: str, event_id: UUID | None) -> None:
        """Forget a hash, also where what is there isn't trusted at the moment."""
        found = self._find()
        if found is not None:
            self._memory(found[0]).forget(hash_, event_id)

    def ping(self) -> None:
        """See :class:`DedupMemory`."""
        self._connect("ping").ping()

    def _trusted(self) -> tuple[str, DedupMemory] | None:
        found = self._find()
        return (found[0], self._memory(found[0])) if found is not None and found[1] else None

    def _memory(self, name: str) -> DedupMemory:
        last = self._last
        if last is None or last[0] != name:
            last = self._last = name, self._connect(name)
        return last[1]
