"""What Airflow itself keeps of a watcher, beside its assets: whether it has begun. That survives Redis."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)


class AssetMemory:
    """The memory of one watcher, kept with the first of the assets that it watches. Never raises.

    ``accessors`` is what Airflow gives a trigger: its ``AssetStateStoreAccessors``; None where it watches
    nothing, and then there is no memory.
    """

    def __init__(self, accessors: Any) -> None:
        # Airflow has no public way to ask which assets these are.
        self._by_name: dict[str, Any] = {} if accessors is None else getattr(accessors, "_by_name", {})
        if accessors is not None and not self._by_name:
            log.warning(
                "This Airflow doesn't tell a trigger which assets it watches: watchers of several assets "
                "that want the same events share one place in the stream, and may lose events at a restart."
            )

    @property
    def names(self) -> list[str]:
        """Return the names of the assets."""
        return sorted(self._by_name)

    async def has_begun(self, cursor: str) -> bool:
        """Tell whether the watcher with this cursor has ever got events."""
        try:
            return bool(self._by_name and await self._first().aget(_key(cursor)))
        except Exception as error:  # noqa: BLE001  # whatever Airflow's supervisor or API says, events go on
            log.warning("Airflow doesn't tell whether this watcher is a new one (%s)", type(error).__name__)
            return False

    async def note_begun(self, cursor: str) -> None:
        """Remember that the watcher with this cursor gets events."""
        try:
            if self._by_name:
                await self._first().aset(_key(cursor), value=True)
        except Exception as error:  # noqa: BLE001  # as above
            log.warning("Airflow doesn't remember that this watcher has begun (%s)", type(error).__name__)

    def _first(self) -> Any:
        return self._by_name[self.names[0]]


def _key(cursor: str) -> str:
    return f"incoming.begun.{cursor}"
