"""Events that end whole batches: found out, and set aside lest they hold all others up for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

#: How often an event may meet a database error before it is taken for its cause.
SUSPICIONS = 3


class Suspects:
    """What one dispatcher remembers of batches that were lost."""

    def __init__(self) -> None:
        self._guilty: dict[UUID, str] = {}
        self._suspicions: Counter[UUID] = Counter()
        self._together: frozenset[UUID] = frozenset()

    def convict(self, event_id: UUID, reason: str) -> None:
        """Set an event aside in the next batch, for this reason."""
        self._guilty[event_id] = reason

    def verdict(self, event_id: UUID) -> str | None:
        """Return, once, why an event is to be set aside; None where it isn't."""
        return self._guilty.pop(event_id, None)

    def suspect(self, event_id: UUID, reason: str) -> None:
        """Set an event aside that the database has refused several times."""
        self._suspicions[event_id] += 1
        if self._suspicions[event_id] >= SUSPICIONS:
            self._suspicions.clear()
            self.convict(event_id, reason)

    def suspect_together(self, event_ids: Iterable[UUID]) -> None:
        """Remember which events the database refused together: one by one it shows which it was."""
        self._together = frozenset(event_ids)

    def may_join(self, event_id: UUID) -> bool:
        """Tell whether an event may be started together with others."""
        return event_id not in self._together

    def acquit(self) -> None:
        """Forget which events were refused together; a batch with them went well."""
        self._together = frozenset()
