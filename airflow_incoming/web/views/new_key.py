"""The *New API key* dialog: what was typed, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, timezone

from airflow_incoming.core.integration import parse_name
from airflow_incoming.web.views.zones import zone_named

#: How long a key may be chosen to live: what the form says, what the user reads, how long.
LIFETIMES: tuple[tuple[str, str, timedelta | None], ...] = (
    ("never", "Never", None),
    ("30d", "In 30 days", timedelta(days=30)),
    ("90d", "In 90 days", timedelta(days=90)),
    ("365d", "In 1 year", timedelta(days=365)),
    ("date", "On a date…", None),
)
#: How long the previous secret of a rotated key may work on.
OVERLAPS: tuple[tuple[str, str, timedelta], ...] = (
    ("none", "Stops at once", timedelta()),
    ("1h", "Works for another hour", timedelta(hours=1)),
    ("1d", "Works for another day", timedelta(days=1)),
    ("7d", "Works for another 7 days", timedelta(days=7)),
)
DEFAULT_OVERLAP = "1d"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKeyForm:
    """The fields as they were typed. ``zone`` is the one that days are in.

    ``in_place`` tells that another page asks, not the list of keys.
    """

    name: str = ""
    expires: str = "never"
    expires_on: str = ""
    zone: str = ""
    in_place: bool = False
    errors: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> NewKeyForm:
        """Return the form out of what a browser posted."""
        return cls(
            name=fields.get("name", "").strip(),
            expires=fields.get("expires", "never"),
            expires_on=fields.get("expires_on", "").strip(),
            zone=fields.get("zone", "").strip(),
            in_place=fields.get("in_place") == "1",
        )

    def refused(self, **errors: str) -> NewKeyForm:
        """Return the same form with what is wrong with its fields."""
        return replace(self, errors=errors)

    def mistakes(self, now: datetime) -> dict[str, str]:
        """Return what is wrong, by field."""
        errors: dict[str, str] = {}
        try:
            parse_name(self.name)
        except ValueError as error:
            errors["name"] = f"The name {error}." if self.name else "Type a name."
        if self.expires not in {code for code, _, _ in LIFETIMES}:
            errors["expires"] = "Choose when the key expires."
        if self.expires == "date":
            end = self._end_of_day()
            if end is None:
                errors["expires_on"] = "Choose a date."
            elif end <= now:
                errors["expires_on"] = "Choose a date that isn't over."
        return errors

    def lifetime(self, now: datetime) -> timedelta | None:
        """Return how long the key lives; None: for ever. Only for a form without mistakes."""
        if self.expires == "date":
            end = self._end_of_day()
            return None if end is None else end - now
        return {code: lifetime for code, _, lifetime in LIFETIMES}[self.expires]

    def _end_of_day(self) -> datetime | None:
        try:
            day = date.fromisoformat(self.expires_on) + timedelta(days=1)
            return datetime.combine(day, time(), zone_named(self.zone)).astimezone(timezone.utc)
        except (ValueError, OverflowError):
            return None


def overlap_of(code: str) -> timedelta:
    """Return how long the previous secret works on; the default for what isn't known."""
    known = {each: overlap for each, _, overlap in OVERLAPS}
    return known.get(code, known[DEFAULT_OVERLAP])
