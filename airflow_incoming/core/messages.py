"""What travels between the floors: frozen values, no behaviour beyond their own shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from airflow_incoming.core.integration import Configuration


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One HTTP request as it came: raw body, lower-cased headers (repeated ones joined by ", ")."""

    endpoint_id: str
    body: bytes
    headers: Mapping[str, str]
    query: str = ""
    remote: str | None = None
    #: Bytes that its body was to have, where that wasn't read.
    announced: int = 0
    #: The endpoint that its head was let in to already.
    admitted: Endpoint | None = None

    @property
    def size(self) -> int:
        """Bytes of its body."""
        return len(self.body) or self.announced


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSecret:
    """A signing secret of an API key, usable until ``expires_at`` (None: no end of its own)."""

    secret: bytes = field(repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VerificationKey:
    """What is needed to verify the JWTs of one API key."""

    key_id: str
    secrets: tuple[LiveSecret, ...]
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A live endpoint: the published version of an integration and the key that opens it."""

    endpoint_id: str
    integration_id: UUID
    name: str
    version_id: UUID
    configuration: Configuration
    key: VerificationKey | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """Somebody wants to see the next request to ``endpoint``, until ``listens_until``.

    Of a draft, which answers nobody else, the endpoint is as the administrator has it in hand: its
    requests are looked at and start nothing. A live endpoint goes on as it is published.
    """

    id: UUID
    endpoint: Endpoint
    listens_until: datetime
    draft: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The right to run once: this hash may be accepted once within ``window`` of its last sending."""

    hash: str
    window: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One accepted request. ``headers`` are redacted; ``body`` is the JSON text exactly as sent."""

    id: UUID
    integration_id: UUID
    integration: str
    version_id: UUID
    received_at: datetime
    body: str
    headers: Mapping[str, str]
    query: str = ""
    remote: str | None = None
    claim: Claim | None = None
    replay_of: UUID | None = None
    #: How a duplicate of this event is answered.
    duplicate_status: int = 204


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a request. ``event_id`` is the first event's for a duplicate."""

    status: Literal["accepted", "duplicate", "captured"]
    event_id: UUID | None = None
    duplicate_status: int = 204


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingEvent:
    """An event that waits for its DAG runs: the configuration it was accepted under, the conf they get."""

    event: Event
    configuration: Configuration
    conf: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """What an event started: a DAG run (``dag_id`` and ``run_id``) or an asset event (``asset``)."""

    dag_id: str | None = None
    run_id: str | None = None
    asset: str | None = None
