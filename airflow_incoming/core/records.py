"""What administrators look at: integrations, API keys and events as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from airflow_incoming.core.integration import Configuration, State
from airflow_incoming.core.messages import Started

EventState = Literal["accepted", "held", "dispatched", "failed", "dead"]
EVENT_STATES: tuple[EventState, ...] = ("accepted", "held", "dispatched", "failed", "dead")
#: Those of events that didn't run yet.
PENDING_STATES: tuple[EventState, ...] = ("accepted", "failed", "held")


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """An immutable configuration of an integration."""

    id: UUID
    number: int
    configuration: Configuration
    created_at: datetime
    created_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Integration:
    """An integration: its newest version, and the one that is live (None: not published)."""

    id: UUID
    name: str
    endpoint_id: str
    suspended: bool
    current: Version
    published: Version | None
    created_at: datetime
    updated_at: datetime

    @property
    def state(self) -> State:
        """Return ``draft``, ``published`` or ``suspended``."""
        if self.published is None:
            return "draft"
        return "suspended" if self.suspended else "published"

    @property
    def has_unpublished_changes(self) -> bool:
        """Tell whether the newest version differs from the live one."""
        return self.published is not None and self.published.configuration != self.current.configuration


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """An API key without its secrets. ``overlap_until``: the previous secret works until then."""

    id: str
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    overlap_until: datetime | None

    def state(self, now: datetime) -> Literal["active", "expired", "revoked"]:
        """Tell whether the key can open endpoints at ``now``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRecord:
    """One event and what became of it; ``body`` is None in listings."""

    id: UUID
    integration_id: UUID
    integration: str
    version_id: UUID
    state: EventState
    received_at: datetime
    due_at: datetime | None
    attempts: int
    error: str | None
    dedup_hash: str | None
    started: tuple[Started, ...]
    ended_at: datetime | None
    replay_of: UUID | None
    body: str | None = None
    headers: Mapping[str, str] | None = None
    query: str = ""
    remote: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """How much waits to be dispatched. ``oldest`` is the arrival of the first waiting event."""

    waiting: int
    failed: int
    dead: int
    held: int
    oldest: datetime | None


RequestOutcome = Literal["duplicate", "rejected"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestRecord:
    """One request that became no event. ``integration`` is None where nobody knows the endpoint.

    Of a duplicate ``event_id`` is the first event, and ``dedup_hash`` what they have in common.
    """

    id: UUID
    received_at: datetime
    integration_id: UUID | None
    integration: str | None
    outcome: RequestOutcome
    status: int
    code: str
    reason: str
    event_id: UUID | None
    dedup_hash: str | None
    remote: str | None
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HourCount:
    """How many requests an integration had in the hour that begins at ``hour``."""

    hour: datetime
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Captured:
    """The request that came while an endpoint listened; ``headers`` are redacted."""

    captured_at: datetime
    body: str
    headers: Mapping[str, str]
    query: str
    remote: str | None


#: After so long every process knows that an endpoint listens.
READY_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenerRecord:
    """*Retrieve data* of one integration: how long it listens, what came, and who was refused."""

    id: UUID
    integration_id: UUID
    started_at: datetime
    started_by: str
    listens_until: datetime
    captured: Captured | None = None
    #: Requests since then that were refused, newest first.
    refused: tuple[RequestRecord, ...] = ()

    @property
    def ready_at(self) -> datetime:
        """Return from when on every process listens."""
        return self.started_at + READY_AFTER

    def is_listening(self, now: datetime) -> bool:
        """Tell whether a request can still be captured."""
        return self.captured is None and now < self.listens_until


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """When an integration was published (None: it isn't), and when its newest event came."""

    published_at: datetime | None
    last_event_at: datetime | None

    @property
    def silent_since(self) -> datetime | None:
        """Return since when it is live and had no event; None where it isn't live."""
        if self.published_at is None or self.last_event_at is None:
            return self.published_at
        return max(self.published_at, self.last_event_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The request that an administrator chose as the example of what an integration receives."""

    integration_id: UUID
    captured_at: datetime
    kept_by: str
    body: str
    headers: Mapping[str, str]
    query: str
