"""What administrators see of the counts, and of requests that became no event."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from uuid import UUID

from sqlalchemy import Engine

from airflow_incoming.core.records import Activity, HourCount, RequestRecord
from airflow_incoming.db.engine import reading
from airflow_incoming.stores import events, requests, silence

#: Dead events that are counted, those of all integrations together.
MOST_DEAD = 10_000

_DAY = 24
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class DayCounts:
    """The requests of one integration in the last 24 hours: in all, and hour by hour, oldest first."""

    accepted: int
    duplicates: int
    rejected: int
    accepted_per_hour: tuple[int, ...]
    duplicates_per_hour: tuple[int, ...]
    rejected_per_hour: tuple[int, ...]


Requests = list[RequestRecord]


class Watch:
    """What administrators see of the counts and of requests that became no event."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def requests(
        self,
        *,
        integration: str | None = None,
        outcome: str | None = None,
        before: UUID | None = None,
        limit: int = 50,
    ) -> Requests:
        """Return remembered requests, newest first; ``before`` is the id that the last page ended with."""
        with reading(self._engine) as connection:
            return requests.search(
                connection, integration=integration, outcome=outcome, before=before, limit=limit
            )

    def last_day(self) -> dict[UUID, DayCounts]:
        """Return the counts of each integration that had requests, up to the present hour."""
        first = self._clock().replace(minute=0, second=0, microsecond=0) - (_DAY - 1) * _HOUR
        with reading(self._engine) as connection:
            found = requests.counts(connection, first)
        return {integration_id: _day(counts, first) for integration_id, counts in found.items()}

    def dead(self) -> dict[str, int]:
        """Return how many dead events integrations have, by name; of many only the newest are counted."""
        with reading(self._engine) as connection:
            return events.dead_by_integration(connection, upto=MOST_DEAD)

    def activity(self, names: Iterable[str]) -> dict[str, Activity]:
        """Return when integrations were published and had their newest event."""
        with reading(self._engine) as connection:
            return silence.activity(connection, names)


def _day(counts: Iterable[HourCount], first: datetime) -> DayCounts:
    by_hour = {count.hour: count for count in counts}
    hours = [by_hour.get(hour) or HourCount(hour=hour) for hour in (first + n * _HOUR for n in range(_DAY))]
    per_hour = {name: tuple(map(attrgetter(name), hours)) for name in ("accepted", "duplicates", "rejected")}
    return DayCounts(
        accepted=sum(per_hour["accepted"]),
        duplicates=sum(per_hour["duplicates"]),
        rejected=sum(per_hour["rejected"]),
        accepted_per_hour=per_hour["accepted"],
        duplicates_per_hour=per_hour["duplicates"],
        rejected_per_hour=per_hour["rejected"],
    )
