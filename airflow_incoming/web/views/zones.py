"""The time zone that a user chose in Airflow: their browser knows it, and names it in forms."""

from __future__ import annotations

from datetime import timezone, tzinfo
from zoneinfo import ZoneInfo


def zone_named(name: str) -> tzinfo:
    """Return the zone of a name such as Europe/Prague; UTC for a name that nobody knows."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # it is also the path of a file
        return timezone.utc
