"""An event taken apart for the eye: parameters, query, headers, and its body as it was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from airflow_incoming.core.export import body_parameters
from airflow_incoming.core.flatten import Leaf
from airflow_incoming.core.records import EventRecord

#: Parameters and characters of the body that a page shows; more would only make it slow.
SHOWN = 1000
SHOWN_CHARACTERS = 200_000


@dataclass(frozen=True, kw_only=True)
class EventParts:
    """What the page of an event lists; ``more`` parameters are left out, ``is_cut`` the end of the body."""

    parameters: tuple[tuple[str, Leaf], ...]
    more: int
    raw: str
    is_cut: bool
    size: int
    headers: Mapping[str, str]
    query: tuple[tuple[str, str], ...]


def parts_of(event: EventRecord) -> EventParts:
    """Return the parts of a whole event."""
    body = event.body or "{}"
    flat = list(body_parameters(event).items())
    return EventParts(
        parameters=tuple(flat[:SHOWN]),
        more=max(len(flat) - SHOWN, 0),
        raw=body[:SHOWN_CHARACTERS],
        is_cut=len(body) > SHOWN_CHARACTERS,
        size=len(body.encode()),
        headers=dict(sorted((event.headers or {}).items())),
        query=tuple(parse_qsl(event.query, keep_blank_values=True)),
    )
