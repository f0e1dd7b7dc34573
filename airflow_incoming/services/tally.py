"""Counts, and the memory of requests that became no event: kept in passing, written now and then.

No request waits for any of this. What is counted while the database is down is written later; what is
noted then is lost. A connection that breaks during COMMIT may count two seconds twice.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from sqlalchemy import Connection, Engine

from airflow_incoming.core.errors import DatabaseUnavailable, EndpointNotFound, RateLimited, Unauthorized
from airflow_incoming.core.messages import Endpoint, Event, Outcome
from airflow_incoming.core.records import HourCount, RequestRecord
from airflow_incoming.db.engine import transaction
from airflow_incoming.services.ids import make_id
from airflow_incoming.services.keys import IssuedToken
from airflow_incoming.services.metrics import NoMetrics
from airflow_incoming.services.notes import (
    ACCEPTED,
    DUPLICATES,
    REJECTED,
    Note,
    Notes,
    StatusOf,
    refusal,
    repetition,
)
from airflow_incoming.stores import requests

log = logging.getLogger(__name__)

#: Seconds between two writings.
FLUSH_EVERY = 2.0
#: After so many notes a writing also forgets what is too old or too many.
PURGE_AFTER = 500
#: Counts (one for each integration and hour) that wait for a database that is down.
MAX_WAITING = 5000

#: How the paths end where API keys are exchanged for JWTs.
TOKEN_PATHS = ("auth/token", "auth/login/profile")
#: What an administrator is told of a 404 where there is such an endpoint.
NOT_LIVE = "It isn't published, so its endpoint answers 404."

_ENDPOINT_ID = re.compile("[a-z2-7]{26}")


class Tally:
    """Counts requests, and remembers some of those that became no event.

    ``find`` returns a live endpoint out of memory, or None; ``status_of`` is the web's; ``meter`` gets
    the same for whoever watches Airflow's metrics.
    """

    def __init__(
        self,
        engine: Engine,
        find: Callable[[str], Endpoint | None],
        *,
        clock: Callable[[], datetime],
        status_of: StatusOf,
        meter: Meters | None = None,
    ) -> None:
        self._engine = engine
        self._find = find
        self._meter = meter or NoMetrics()
        self._clock = clock
        self._status_of = status_of
        self._something = threading.Event()
        self._stopping = threading.Event()
        self._notes = Notes(self._something.set)
        self._counts: dict[tuple[UUID, datetime], list[int]] = {}
        self._noted = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread = threading.Thread(target=self._run, name="incoming-tally", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Write what there is (within ``timeout`` seconds) and end."""
        self._stopping.set()
        self._something.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def settled(self, event: Event, size: int, future: Future[Outcome]) -> None:
        """Take note of what became of an admitted request, whose body has ``size`` bytes."""
        try:
            outcome = future.result()
        except Exception as error:  # noqa: BLE001 - the adapter answers it; here it is only noted
            self._refused(error, event.integration_id, event.integration, remote=event.remote, size=size)
            return
        if outcome.status == "captured":
            self._meter.captured(event.integration)
            return
        taken = max((self._clock() - event.received_at).total_seconds(), 0.0)  # clocks may step back
        self._meter.answered(outcome.status, event.integration, taken)
        if outcome.status == "accepted":
            self._notes.count(event.integration_id, ACCEPTED)
        else:
            self._notes.count(event.integration_id, DUPLICATES)
            self._notes.note(repetition(event, outcome, size=size))

    def refused(self, path: str, error: Exception, *, remote: str | None, size: int) -> None:
        """Take note of a refused request; the last part of ``path`` is the endpoint's id, if it has one.

        Of the error only what is meant for people is kept: no credential, header or body.
        """
        if path.endswith(TOKEN_PATHS):
            note = self._note(error, remote=remote, size=size)
            self._meter.token_rejected(note.code)
            self._notes.note(note)
            return
        endpoint_id = path.rpartition("/")[2]
        if not _ENDPOINT_ID.fullmatch(endpoint_id):
            self._refused(error, None, None, remote=remote, size=size)
            return
        found = self._find(endpoint_id)
        integration_id, name = (None, None) if found is None else (found.integration_id, found.name)
        self._refused(error, integration_id, name, remote=remote, size=size, endpoint_id=endpoint_id)

    def flush(self) -> None:
        """Write what there is; of that the counts stay in memory where the database is out of reach."""
        self._meter.flush()
        taken = self._notes.take()
        if taken.left_out:
            log.debug("%d requests that became no event were not written down", taken.left_out)
        self._add_up(taken.counts)
        try:
            with transaction(self._engine) as connection:
                requests.add_counts(connection, _by_integration(self._counts))
                requests.remember(connection, _records(connection, taken.notes))
            self._counts.clear()
            self._purge(len(taken.notes))
        except DatabaseUnavailable:
            log.debug("The database is unavailable; %d counts wait for it", len(self._counts))
            self._something.set()
        except Exception:
            log.exception("Could not write down how many requests came")
            self._counts.clear()

    def _run(self) -> None:
        while True:
            self._something.wait()
            self._something.clear()
            last = self._stopping.is_set()
            self.flush()
            if last:
                return
            self._stopping.wait(FLUSH_EVERY)

    def _refused(
        self,
        error: Exception,
        integration_id: UUID | None,
        integration: str | None,
        *,
        remote: str | None,
        size: int,
        endpoint_id: str | None = None,
    ) -> None:
        if integration_id is not None:
            self._notes.count(integration_id, REJECTED)
        note = self._note(error, remote=remote, size=size)
        self._meter.rejected(note.code, integration)
        whose = note._replace(endpoint_id=endpoint_id, integration_id=integration_id, integration=integration)
        self._notes.note(whose)

    def _note(self, error: Exception, *, remote: str | None, size: int) -> Note:
        return refusal(error, self._status_of, received_at=self._clock(), remote=remote, size=size)

    def _add_up(self, fresh: dict[UUID, list[int]]) -> None:
        hour = self._clock().replace(minute=0, second=0, microsecond=0)
        for integration_id, counts in fresh.items():
            before = self._counts.get((integration_id, hour), (0, 0, 0))
            self._counts[integration_id, hour] = [a + b for a, b in zip(before, counts, strict=True)]
        if len(self._counts) > MAX_WAITING:
            for key in sorted(self._counts, key=lambda key: key[1])[:-MAX_WAITING]:
                del self._counts[key]

    def _purge(self, noted: int) -> None:
        self._noted += noted
        if self._noted < PURGE_AFTER:
            return
        self._noted = 0
        with transaction(self._engine) as connection:
            requests.purge(connection, now=self._clock(), limit=2 * PURGE_AFTER)


class Meters(Protocol):
    """Counts for Airflow's metrics: :class:`~airflow_incoming.services.metrics.Meter`."""

    def answered(self, status: Literal["accepted", "duplicate"], integration: str, seconds: float) -> None:
        """Count an accepted or a duplicate request, which took so long."""

    def captured(self, integration: str) -> None:
        """Count a request that became a sample and nothing else."""

    def rejected(self, code: str, integration: str | None) -> None:
        """Count a refused request."""

    def token_rejected(self, code: str) -> None:
        """Count a refused attempt to obtain a token."""

    def flush(self) -> None:
        """Send what there is."""


class IssuesTokens(Protocol):
    """Exchanges API keys for JWTs."""

    def issue(self, api_key: str, *, remote: str | None) -> IssuedToken:
        """Return a JWT."""


class WatchedIssuer:
    """Takes note of who was refused a token."""

    def __init__(self, issuer: IssuesTokens, tally: Tally) -> None:
        self._issuer = issuer
        self._tally = tally

    def issue(self, api_key: str, *, remote: str | None) -> IssuedToken:
        """Return a JWT. Raises what the issuer raises."""
        try:
            return self._issuer.issue(api_key, remote=remote)
        except Unauthorized as error:
            told = Unauthorized(f"A wrong API key at auth/token: {error.reason}")
            self._tally.refused("auth/token", told, remote=remote, size=len(api_key))
            raise
        except RateLimited as error:
            self._tally.refused("auth/token", error, remote=remote, size=len(api_key))
            raise


def _by_integration(counts: dict[tuple[UUID, datetime], list[int]]) -> dict[UUID, list[HourCount]]:
    found: dict[UUID, list[HourCount]] = {}
    for (integration_id, hour), (accepted, duplicates, rejected) in counts.items():
        count = HourCount(hour=hour, accepted=accepted, duplicates=duplicates, rejected=rejected)
        found.setdefault(integration_id, []).append(count)
    return found


def _records(connection: Connection, notes: list[Note]) -> list[RequestRecord]:
    """Return the notes as records; of an endpoint that isn't live the database knows whose it is."""
    unknown = {note.endpoint_id for note in notes if note.integration_id is None and note.endpoint_id}
    names = requests.names_of(connection, unknown) if unknown else {}
    records = []
    for note in notes:
        integration_id, integration = note.integration_id, note.integration
        if note.endpoint_id in names:
            integration_id, integration = names[note.endpoint_id]
            note = note._replace(reason=NOT_LIVE) if note.code == EndpointNotFound.code else note
        record = RequestRecord(
            id=make_id(),
            integration_id=integration_id,
            integration=integration,
            **{name: getattr(note, name) for name in _COPIED},
        )
        records.append(record)
    return records


_COPIED = (
    *("received_at", "outcome", "status", "code", "reason"),
    *("event_id", "dedup_hash", "remote", "size"),
)
