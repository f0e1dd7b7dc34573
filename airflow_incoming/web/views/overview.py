"""What the list of integrations shows of each, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from uuid import UUID

from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.records import Activity, Integration
from airflow_incoming.services.rights import Stakes
from airflow_incoming.services.watch import DayCounts
from airflow_incoming.web.access import Visitor
from airflow_incoming.web.views.editor_rights import may_see_url
from airflow_incoming.web.views.sparkline import Drawing, draw

#: What the list can be sorted by; the first is the default.
COLUMNS = ("title", "type", "state", "last", "requests")
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One integration in the list. ``url`` is None where the visitor may not know it.

    ``dead`` is how many of its events were given up; it ``is_silent`` when no event came for long.
    """

    integration: Integration
    url: str | None
    last_event_at: datetime | None
    counts: DayCounts | None
    drawing: Drawing | None
    dead: int = 0
    is_silent: bool = False

    @property
    def configuration(self) -> Configuration:
        """Return the newest configuration, which is what an administrator thinks of."""
        return self.integration.current.configuration

    @property
    def title(self) -> str:
        """Return the title, or the name where there is none."""
        return self.configuration.title or self.integration.name

    @property
    def requests(self) -> int:
        """Return how many requests came within a day, refused ones included."""
        return 0 if self.counts is None else _total(self.counts)

    def holds(self, text: str) -> bool:
        """Tell whether title, name, a DAG or an asset contains the text, in any case."""
        known = (self.title, self.integration.name, *self.configuration.dags, *self.configuration.assets)
        return any(text.casefold() in each.casefold() for each in known)


def make_rows(
    found: Sequence[Integration],
    visitor: Visitor,
    base_url: str,
    *,
    opened: Mapping[str, Stakes],
    activity: Mapping[str, Activity],
    last_day: Mapping[UUID, DayCounts],
    dead: Mapping[str, int],
    silent_since: datetime,
) -> list[Row]:
    """Return one row for each integration, in the same order.

    ``opened`` is what whoever knows an endpoint may start, where that takes no credential. Whatever is
    live since before ``silent_since`` and had no event after it is silent.
    """
    rows = []
    for integration in found:
        counts = last_day.get(integration.id)
        heard = activity.get(integration.name)
        sees = may_see_url(visitor, integration, opened.get(integration.name))
        rows.append(
            Row(
                integration=integration,
                url=f"{base_url}/{integration.endpoint_id}" if sees else None,
                last_event_at=None if heard is None else heard.last_event_at,
                counts=counts,
                drawing=None if counts is None else _draw(counts),
                dead=dead.get(integration.name, 0),
                is_silent=integration.state == "published" and _is_silent(heard, silent_since),
            )
        )
    return rows


def select(rows: Sequence[Row], *, text: str, column: str, descending: bool) -> list[Row]:
    """Return the rows that hold the text, sorted; unknown columns sort by title."""
    keys = {
        "type": lambda row: row.configuration.auth.type,
        "state": lambda row: (row.integration.state, row.integration.has_unpublished_changes),
        "last": lambda row: row.last_event_at or _LONG_AGO,
        "requests": lambda row: row.requests,
    }
    by_title = sorted((row for row in rows if row.holds(text)), key=lambda row: row.title.casefold())
    if column in keys:
        return sorted(by_title, key=keys[column], reverse=descending)
    return by_title[::-1] if descending else by_title


def _is_silent(heard: Activity | None, since: datetime) -> bool:
    return heard is not None and heard.silent_since is not None and heard.silent_since < since


def _total(counts: DayCounts) -> int:
    return counts.accepted + counts.duplicates + counts.rejected


def _draw(counts: DayCounts) -> Drawing:
    return draw(counts.accepted_per_hour, counts.duplicates_per_hour, counts.rejected_per_hour)
