"""What the address of the events page says: which events are meant, and what was wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from werkzeug.datastructures import MultiDict

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.matching import ParameterMatch, parse_match
from airflow_incoming.core.records import EVENT_STATES
from airflow_incoming.stores.events import Criteria
from airflow_incoming.web.views.zones import zone_named

PAGE = 50
RANGES = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
#: Several states under one name.
GROUPS: dict[str, tuple[str, ...]] = {
    "trouble": ("failed", "dead"),
    "waiting": ("accepted", "held", "failed"),
}
STATE_OPTIONS = (
    ("", "Any state"),
    ("trouble", "Failed or dead"),
    ("waiting", "Still waiting"),
    ("accepted", "Accepted"),
    ("held", "Held"),
    ("failed", "Failed, retrying"),
    ("dead", "Dead"),
    ("dispatched", "Dispatched"),
)
RANGE_OPTIONS = (
    ("", "Any time"),
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("custom", "From … to …"),
)

#: Between these, an event can have come.
EARLIEST, LATEST = (datetime(year, 1, 1, tzinfo=timezone.utc) for year in (2000, 3000))
#: What belongs to the range "From … to …" alone.
_CUSTOM = ("since", "until", "zone")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """Criteria, the texts that they were made of, and what is wrong by field."""

    criteria: Criteria
    texts: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Tell whether all events are meant."""
        return not self.texts

    @property
    def zone(self) -> str:
        """Return the zone that times without one are in."""
        return self.texts.get("zone", "UTC")

    def local(self, name: str) -> str:
        """Return ``since`` or ``until`` in that zone, as an input has it; as typed where it is wrong."""
        moment: datetime | None = getattr(self.criteria, name)
        if moment is None:
            return self.texts.get(name, "")
        return f"{moment.astimezone(zone_named(self.zone)):%Y-%m-%dT%H:%M:%S}"

    def query(self, **more: object) -> dict[str, Any]:
        """Return the filter as parameters of an address, with others."""
        return {**self.texts, **{name: str(value) for name, value in more.items() if value is not None}}

    def fixed(self) -> dict[str, str]:
        """Return the filter with times instead of ages, so that it means the same events later, too."""
        texts = {name: text for name, text in self.texts.items() if name not in ("range", *_CUSTOM)}
        criteria = self.criteria
        if criteria.since or criteria.until:
            texts["range"] = "custom"
        if criteria.since:
            texts["since"] = criteria.since.isoformat()
        if criteria.until:
            texts["until"] = criteria.until.isoformat()
        return texts


def read_filter(values: MultiDict[str, str], now: datetime) -> EventFilter:
    """Return what an address, or a form, means. Never raises: what is wrong is named by field."""
    names = ("integration", "state", "range", "since", "until", "zone", "parameter", "value", "hash")
    texts = {name: text for name in names if (text := values.get(name, "").strip())}
    if texts.get("range") != "custom":
        texts = {name: text for name, text in texts.items() if name not in _CUSTOM}
    errors: dict[str, str] = {}
    criteria = Criteria(
        integration=texts.get("integration"),
        states=_states(texts.get("state", ""), errors),
        since=_since(texts, now, errors),
        until=_moment("until", texts, errors),
        dedup_hash=_hash(texts.get("hash", ""), errors),
        parameter=_parameter(texts, errors),
        limit=PAGE,
    )
    for cursor in ("before", "after"):
        if text := values.get(cursor, ""):
            criteria = _with_cursor(criteria, cursor, text, errors)
    return EventFilter(criteria=criteria, texts=texts, errors=errors)


def _states(text: str, errors: dict[str, str]) -> tuple[str, ...]:
    if text in GROUPS:
        return GROUPS[text]
    states = tuple(text.split(",")) if text else ()
    if not set(states) <= set(EVENT_STATES):
        errors["state"] = f"There is no state “{text}”."
        return ()
    return states


def _since(texts: Mapping[str, str], now: datetime, errors: dict[str, str]) -> datetime | None:
    chosen = texts.get("range", "")
    if chosen in RANGES:
        return now - RANGES[chosen]
    if chosen not in ("", "custom"):
        errors["range"] = "Choose one of the ranges."
    return _moment("since", texts, errors)


def _moment(name: str, texts: Mapping[str, str], errors: dict[str, str]) -> datetime | None:
    if name not in texts:
        return None
    try:
        moment = datetime.fromisoformat(texts[name].replace("Z", "+00:00"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone_named(texts.get("zone", "UTC")))
        moment = moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        errors[name] = "Write a time such as 2026-03-01T12:00."
        return None
    if not EARLIEST <= moment < LATEST:
        errors[name] = f"Choose a time between the years {EARLIEST.year} and {LATEST.year}."
        return None
    return moment


def _hash(text: str, errors: dict[str, str]) -> str | None:
    if text and not _HASH.fullmatch(text):
        errors["hash"] = "A deduplication hash has 64 hexadecimal digits."
        return None
    return text or None


def _parameter(texts: Mapping[str, str], errors: dict[str, str]) -> ParameterMatch | None:
    if "parameter" not in texts:
        if "value" in texts:
            errors["parameter"] = "Name the parameter that has this value, such as body.order.id."
        return None
    try:
        return parse_match(texts["parameter"], texts.get("value", ""))
    except InvalidConfiguration as error:
        errors[str(error.path[0])] = f"It {error.problem}."
        return None


def _with_cursor(criteria: Criteria, name: str, text: str, errors: dict[str, str]) -> Criteria:
    try:
        cursor = UUID(text)
    except ValueError:
        errors["page"] = "This page can't be found again. Start from the newest events."
        return criteria
    return replace(criteria, before=cursor) if name == "before" else replace(criteria, after=cursor)
