"""Bytes in, decision out: what makes an event of a request, or refuses it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from airflow_incoming.core.conf import build_conf, conf_size
from airflow_incoming.core.credentials import PROVEN_BY_HEAD, authenticate
from airflow_incoming.core.errors import BodyTooLarge, ConfTooLarge
from airflow_incoming.core.extent import Extent, conf_bound, guess, measure
from airflow_incoming.core.fingerprint import fingerprint
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Claim, Endpoint, Event, Request
from airflow_incoming.core.payload import check_media_type, parse_json
from airflow_incoming.core.redaction import cut_query, redact, redact_query, storable_text
from airflow_incoming.core.tokens import TokenPolicy

#: Objects and arrays that a payload may have for each parameter that it may have: reading a megabyte of
#: nothing but brackets would hold up everybody else for most of a second.
NESTING = 2
#: Characters of a query string, and of a remote address, that are kept.
MAX_QUERY = 4096
MAX_REMOTE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmissionPolicy:
    """Limits of the installation: bytes of body and conf, number of parameters, demands on JWTs.

    Raises ValueError for a limit below 1.
    """

    max_body: int
    max_conf: int
    max_parameters: int
    tokens: TokenPolicy

    def __post_init__(self) -> None:
        if min(self.max_body, self.max_conf, self.max_parameters) < 1:
            raise ValueError("the limits of body, conf and parameters must be at least 1")


def admit(
    request: Request, endpoint: Endpoint, policy: AdmissionPolicy, *, now: datetime, event_id: UUID
) -> Event:
    """Return the event that a request is. Raises RequestRejected.

    Credentials come first: before them a stranger learns nothing of what else may be wrong. An
    integration's own limits take the place of the installation's. Headers, query and address are no
    reason to refuse: they are stored redacted, shortened and with what can't be stored replaced.
    """
    if request.admitted is not endpoint:
        authenticate(endpoint, request.headers, policy.tokens, now=now)
        check_media_type(request.headers)
    _check_size(len(request.body), endpoint, policy)
    payload = parse_json(request.body, max_containers=policy.max_parameters * NESTING)
    event = _event(request, endpoint, _claim(request, endpoint, payload), now, event_id)
    max_conf = endpoint.configuration.limits.conf or policy.max_conf

    def fits(extent: Extent) -> bool:
        bound = conf_bound(extent, request.body, endpoint.configuration, event.headers)
        return bound <= max_conf and extent.parameters <= policy.max_parameters

    if not fits(guess(request.body)) and not fits(measure(payload)):
        _check_exactly(event, request.body, endpoint.configuration, policy, max_conf)
    return event


def screen(head: Request, endpoint: Endpoint, policy: AdmissionPolicy, *, now: datetime) -> bool:
    """Refuse a request for what its head says, as :func:`admit` would. Raises RequestRejected.

    Return False where that has to wait for the body, which the credential proves.
    """
    if endpoint.configuration.auth.type not in PROVEN_BY_HEAD:
        return False
    authenticate(endpoint, head.headers, policy.tokens, now=now)
    check_media_type(head.headers)
    _check_size(head.announced, endpoint, policy)
    return True


def _check_size(size: int, endpoint: Endpoint, policy: AdmissionPolicy) -> None:
    most = endpoint.configuration.limits.body or policy.max_body
    if size > most:
        raise BodyTooLarge(most)


def _check_exactly(
    event: Event,
    body: bytes,
    configuration: Configuration,
    policy: AdmissionPolicy,
    max_conf: int,
) -> None:
    """Make the conf, and measure it. Raises UnstorableJSON and ConfTooLarge."""
    conf = build_conf(
        body,
        configuration,
        event_id=event.id,
        integration=event.integration,
        received_at=event.received_at,
        headers=event.headers,
        max_parameters=policy.max_parameters,
        max_size=max_conf,
    )
    size = conf_size(conf)
    if size > max_conf:
        raise ConfTooLarge(size, max_conf)


def _event(request: Request, endpoint: Endpoint, claim: Claim | None, now: datetime, event_id: UUID) -> Event:
    deduplication = endpoint.configuration.deduplication
    return Event(
        id=event_id,
        integration_id=endpoint.integration_id,
        integration=endpoint.name,
        version_id=endpoint.version_id,
        received_at=now,
        body=request.body.decode(),
        headers=redact(request.headers, endpoint_id=request.endpoint_id),
        query=redact_query(cut_query(request.query), endpoint_id=request.endpoint_id)[:MAX_QUERY],
        remote=None if request.remote is None else storable_text(request.remote[:MAX_REMOTE]),
        claim=claim,
        duplicate_status=204 if deduplication is None else deduplication.duplicate_status,
    )


def _claim(request: Request, endpoint: Endpoint, payload: dict[str, Any] | list[Any]) -> Claim | None:
    deduplication = endpoint.configuration.deduplication
    if deduplication is None:
        return None
    hash_ = fingerprint(
        integration_id=endpoint.integration_id,
        deduplication=deduplication,
        payload=payload,
        headers=request.headers,
        query=request.query,
    )
    return None if hash_ is None else Claim(hash=hash_, window=deduplication.window)
