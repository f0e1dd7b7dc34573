"""What one process has counted and noted since it last wrote it down. Bounded, whatever comes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice, zip_longest
from typing import NamedTuple
from uuid import UUID

from airflow_incoming.core.admission import MAX_REMOTE
from airflow_incoming.core.errors import IncomingError, RequestRejected, Unauthorized, Unavailable
from airflow_incoming.core.messages import Event, Outcome
from airflow_incoming.core.records import RequestOutcome
from airflow_incoming.core.redaction import storable_text

#: Of a flood the newest are kept: so many of one outcome and integration, and so many in all.
MOST_ALIKE = 20
MOST = 40

MAX_REASON = 500

ACCEPTED, DUPLICATES, REJECTED = 0, 1, 2

#: HTTP statuses by class of error; the table is the web's.
StatusOf = Callable[[type[IncomingError]], int]


class Note(NamedTuple):
    """One request that became no event; a tuple, because each duplicate pays for making one.

    ``endpoint_id`` is as the sender wrote it.
    """

    received_at: datetime
    outcome: RequestOutcome
    status: int
    code: str
    reason: str
    remote: str | None
    size: int
    endpoint_id: str | None = None
    integration_id: UUID | None = None
    integration: str | None = None
    event_id: UUID | None = None
    dedup_hash: str | None = None


def repetition(event: Event, outcome: Outcome, *, size: int) -> Note:
    """Return the note of a request whose event is there already."""
    return Note(
        received_at=event.received_at,
        outcome="duplicate",
        status=outcome.duplicate_status,
        code="duplicate",
        reason="The same was sent before.",
        integration_id=event.integration_id,
        integration=event.integration,
        event_id=outcome.event_id,
        dedup_hash=None if event.claim is None else event.claim.hash,
        remote=event.remote,
        size=size,
    )


def refusal(
    error: Exception, status_of: StatusOf, *, received_at: datetime, remote: str | None, size: int
) -> Note:
    """Return the note of a request that was refused; of unexpected errors it says nothing.

    Errors of ours never repeat a credential, a header's value or a body; what an administrator is
    told of an Unauthorized is the reason that the sender isn't told.
    """
    status, code, reason = 503, Unavailable.code, "An unexpected error; the server's log has it."
    if isinstance(error, RequestRejected | Unavailable):
        status, code = status_of(type(error)), error.code
        reason = error.reason if isinstance(error, Unauthorized) else error.detail
    return Note(
        received_at=received_at,
        outcome="rejected",
        status=status,
        code=code,
        reason=storable_text(_sentence(reason)[:MAX_REASON]),
        remote=None if remote is None else storable_text(remote[:MAX_REMOTE]),
        size=size,
    )


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """Everything since the last time: counts by integration, some notes, and how many were left out."""

    counts: dict[UUID, list[int]]
    notes: list[Note]
    left_out: int


class Notes:
    """Counts and notes, from any thread. ``wake`` is called by the first after each ``take``."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._empty = True
        self._counts: dict[UUID, list[int]] = {}
        self._notes: dict[tuple[UUID | None, RequestOutcome], deque[Note]] = {}
        self._noted = 0

    def count(self, integration_id: UUID, kind: int) -> None:
        """Count one request of an integration. Every accepted request pays for this."""
        with self._lock:
            counts = self._counts.get(integration_id)
            if counts is None:
                counts = self._counts[integration_id] = [0, 0, 0]
            counts[kind] += 1
            if self._empty:
                self._empty = False
                self._wake()

    def note(self, note: Note) -> None:
        """Note one request. All unknown endpoints share the room of one integration."""
        with self._lock:
            self._noted += 1
            alike = self._notes.get((note.integration_id, note.outcome))
            if alike is None:
                alike = self._notes[note.integration_id, note.outcome] = deque(maxlen=MOST_ALIKE)
            alike.append(note)
            if self._empty:
                self._empty = False
                self._wake()

    def take(self) -> Taken:
        """Return everything, and begin anew."""
        with self._lock:
            counts, self._counts = self._counts, {}
            groups, self._notes = self._notes, {}
            noted, self._noted = self._noted, 0
            self._empty = True
        notes = _newest(groups.values())
        return Taken(counts=counts, notes=notes, left_out=noted - len(notes))


def _newest(groups: Iterable[deque[Note]]) -> list[Note]:
    """Return the newest of each group in turn, so that no group takes the place of the others."""
    rounds = chain.from_iterable(zip_longest(*(reversed(group) for group in groups)))
    chosen = islice((note for note in rounds if note is not None), MOST)
    return sorted(chosen, key=lambda note: note.received_at)
