"""What changed between two configurations, in words that an administrator reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.units import format_duration, format_size

Words = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One changed field: ``path`` as in a file, ``label`` as on the pages, what it was and what it is.

    Each side is a list of words: one for a plain field, several for a list, none where nothing is set.
    """

    path: str
    label: str
    before: Words
    after: Words


def differences(before: Configuration, after: Configuration) -> tuple[Difference, ...]:
    """Return the fields that differ, in the order of the pages; () for equal configurations."""
    found = []
    for path, label, words in _FIELDS:
        old, new = words(before), words(after)
        if old != new:
            found.append(Difference(path=path, label=label, before=old, after=new))
    return tuple(found)


def _word(value: object) -> Words:
    return () if value is None or value == "" else (str(value),)


def _size(value: int | None) -> Words:
    return () if value is None else (format_size(value),)


def _parameters(c: Configuration) -> Words:
    return () if c.deduplication is None else c.deduplication.parameters


def _window(c: Configuration) -> Words:
    return () if c.deduplication is None else (format_duration(c.deduplication.window),)


def _duplicate_status(c: Configuration) -> Words:
    return () if c.deduplication is None else (str(c.deduplication.duplicate_status),)


_FIELDS: tuple[tuple[str, str, Callable[[Configuration], Words]], ...] = (
    ("title", "Title", lambda c: _word(c.title)),
    ("icon", "Icon", lambda c: _word(c.icon)),
    ("auth.type", "Authentication", lambda c: _word(c.auth.type)),
    ("auth.api_key", "API key", lambda c: _word(c.auth.api_key)),
    ("headers", "Headers passed on", lambda c: c.headers),
    ("deduplication.parameters", "Deduplication parameters", _parameters),
    ("deduplication.window", "Deduplication window", _window),
    ("deduplication.duplicate_status", "Answer to a duplicate", _duplicate_status),
    ("dags", "DAGs", lambda c: c.dags),
    ("assets", "Assets", lambda c: c.assets),
    ("limits.body", "Limit of the body", lambda c: _size(c.limits.body)),
    ("limits.conf", "Limit of the conf", lambda c: _size(c.limits.conf)),
    ("limits.rate", "Limit of the rate", lambda c: _word(c.limits.rate)),
)
