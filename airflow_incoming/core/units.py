"""Sizes, durations and rates as people write them: ``1MiB``, ``7d``, ``50/s``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

_SIZE = re.compile(r"(\d{1,12})\s*(B|KB|KiB|MB|MiB|GB|GiB)?")
_SIZE_UNITS = {
    None: 1,
    "B": 1,
    "KB": 10**3,
    "KiB": 2**10,
    "MB": 10**6,
    "MiB": 2**20,
    "GB": 10**9,
    "GiB": 2**30,
}
_DURATION = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)")
_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_RATE = re.compile(r"(\d{1,9})\s*/\s*(s|m|h)")


@dataclass(frozen=True, slots=True)
class Rate:
    """``count`` requests per ``period`` seconds."""

    count: int
    period: int

    def __str__(self) -> str:
        unit = next(name for name, seconds in _DURATION_UNITS.items() if seconds == self.period)
        return f"{self.count}/{unit}"


def parse_size(value: object) -> int:
    """Return bytes for ``1MiB``, ``500 KB`` or a plain number. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**12:
        return value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        size = int(found[1]) * _SIZE_UNITS[found[2]]
        if size > 0:
            return size
    raise ValueError("must be a size such as 256KiB or 1MiB")


def parse_duration(value: object) -> timedelta:
    """Return the duration of ``90s``, ``15m``, ``24h``, ``7d`` or ``2w``. Raises ValueError."""
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        seconds = int(found[1]) * _DURATION_UNITS[found[2]]
        if 0 < seconds <= 366 * 86400:
            return timedelta(seconds=seconds)
    raise ValueError("must be a duration between 1s and 366d, such as 90s, 15m, 24h or 7d")


def parse_rate(value: object) -> Rate:
    """Return the rate of ``50/s``, ``100/m`` or ``1000/h``. Raises ValueError."""
    if isinstance(value, str) and (found := _RATE.fullmatch(value.strip())) and int(found[1]) > 0:
        return Rate(int(found[1]), _DURATION_UNITS[found[2]])
    raise ValueError("must be a rate such as 50/s, 100/m or 1000/h")


def format_size(size: int) -> str:
    """Return the shortest exact spelling of a size in bytes: ``1MiB``, ``256KiB``, ``1000``."""
    for unit in ("GiB", "MiB", "KiB"):
        if size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return str(size)


def format_duration(duration: timedelta) -> str:
    """Return the shortest exact spelling of a duration: ``7d``, ``36h``, ``90s``."""
    seconds = int(duration.total_seconds())
    unit = next(name for name in ("d", "h", "m", "s") if seconds % _DURATION_UNITS[name] == 0)
    return f"{seconds // _DURATION_UNITS[unit]}{unit}"
