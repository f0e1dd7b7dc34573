"""Accepted events on their way to waiting tasks and watched assets: what an entry of a stream is.

There is one stream per integration. An entry holds the body as it was sent; who reads it flattens it.
Positions are the ids that Redis gives entries: milliseconds and a number, in the order of publishing,
which is nearly that of receipt. An event may be published more than once, always with the same event id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from airflow_incoming.core.conf import build_conf, uncarriable
from airflow_incoming.core.errors import RequestRejected
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event
from airflow_incoming.core.redaction import passed_on

#: How long an entry is kept at most, and how long it is known who took an event.
KEPT = timedelta(days=7)

_POSITION = re.compile(r"([0-9]{1,18})-([0-9]{1,20})")


class Position(NamedTuple):
    """A place in a stream; whatever comes after it is greater. ``str`` gives Redis's spelling."""

    milliseconds: int
    number: int = 0

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.number}"


BEGINNING = Position(0)
#: Bytes of an entry besides its values.
OVERHEAD = 150
#: The greatest number that Redis gives.
_LAST = 2**64 - 1


def before(milliseconds: int) -> Position:
    """Return a position that whatever is published at this time or later comes after."""
    return Position(max(0, milliseconds - 1))


def just_before(position: Position) -> Position:
    """Return a position that this one comes after, and none between."""
    if position.number or not position.milliseconds:
        return Position(position.milliseconds, max(0, position.number - 1))
    return Position(position.milliseconds - 1, _LAST)


def parse_position(text: str) -> Position:
    """Return a position from Redis's spelling. Raises ValueError."""
    found = _POSITION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no position in a stream")
    return Position(int(found[1]), int(found[2]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much of an integration's stream is kept: entries, bytes of memory, and for how long."""

    length: int
    size: int
    kept: timedelta = KEPT


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """Where things are in Redis. What belongs to one integration is in one slot of a cluster."""

    prefix: str

    def events(self, integration: str) -> str:
        """Return the key of an integration's stream."""
        return f"{self._of(integration)}:events"

    def cursor(self, integration: str, name: str) -> str:
        """Return the key that holds how far a watcher of an integration has got."""
        return f"{self._of(integration)}:cursor:{name}"

    def taker(self, integration: str, event_id: str) -> str:
        """Return the key that holds who took an event that only one may have."""
        return f"{self._of(integration)}:taker:{event_id}"

    def own(self, integration: str, taker: str) -> str:
        """Return the key that holds which event somebody has taken."""
        return f"{self._of(integration)}:own:{taker}"

    @property
    def names(self) -> str:
        """Return the key that holds the names of all integrations."""
        return f"{self.prefix}:integrations"

    @property
    def memory(self) -> str:
        """Return the key that is missing when Redis has lost its memory; a cluster's keys begin with it."""
        return f"{self.prefix}:memory"

    def _of(self, integration: str) -> str:
        return f"{self.prefix}:{{{integration}}}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One event to be published: text alone, as Redis holds it. ``headers`` is JSON."""

    integration: str
    event_id: str
    received_at: str
    body: str
    headers: str

    def fields(self) -> dict[str, str]:
        """Return the entry as Redis stores it."""
        return {
            "id": self.event_id,
            "received_at": self.received_at,
            "body": self.body,
            "headers": self.headers,
        }


def size_of(fields: Mapping[str, str]) -> int:
    """Return about how many bytes of memory an entry takes."""
    return sum(len(value.encode()) for value in fields.values()) + OVERHEAD


@dataclass(frozen=True, kw_only=True, slots=True)
class Take:
    """Somebody takes the event at a position, which only one may have."""

    event_id: str
    position: Position
    taker: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """One event of a stream. ``conf`` is what a DAG run would receive."""

    position: Position
    event_id: str
    conf: Mapping[str, Any]


def entry_of(event: Event, configuration: Configuration | None) -> Entry:
    """Return the entry of an event; it carries the headers that its configuration passes on."""
    names = () if configuration is None else configuration.headers
    return Entry(
        integration=event.integration,
        event_id=str(event.id),
        received_at=event.received_at.isoformat(),
        body=event.body,
        headers=json.dumps(passed_on(event.headers, names)),
    )


def sent_of(integration: str, position: Position, fields: Mapping[str, str]) -> Sent:
    """Return the event of an entry. Raises ValueError where it can't be read, or not be handed to Airflow."""
    try:
        event_id, headers = UUID(fields["id"]), json.loads(fields["headers"])
        conf = build_conf(
            fields["body"].encode(),
            Configuration(headers=tuple(headers)),
            event_id=event_id,
            integration=integration,
            received_at=datetime.fromisoformat(fields["received_at"]),
            headers=headers,
        )
    except (KeyError, TypeError, ValueError, AttributeError, RequestRejected) as error:
        raise ValueError(f"Entry {position} of {integration} can't be read.") from error
    if (name := uncarriable(conf)) is not None:
        raise ValueError(f"Airflow can't carry parameter {name!r} of entry {position} of {integration}.")
    return Sent(position=position, event_id=str(event_id), conf=conf)
