"""Outcomes and errors as HTTP, for every adapter alike. The one table of status codes is here."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from airflow_incoming.core import errors
from airflow_incoming.core.messages import Outcome
from airflow_incoming.services.health import HealthReport
from airflow_incoming.services.keys import IssuedToken

log = logging.getLogger(__name__)

#: An error that isn't listed has the status of the nearest class above it.
STATUS: dict[type[errors.IncomingError], int] = {
    errors.IncomingError: 503,
    errors.RequestRejected: 400,
    errors.MalformedJSON: 400,
    errors.Unauthorized: 401,
    errors.EndpointNotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.BodyTimeout: 408,
    errors.BodyTooLarge: 413,
    errors.ConfTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.UnstorableJSON: 422,
    errors.BadDeduplicationHash: 422,
    errors.RateLimited: 429,
    errors.HeadersTooLarge: 431,
    errors.Unavailable: 503,
}

#: RFC 9457: a problem's type is a URI that names it; ours need not be looked up.
PROBLEM_TYPE = "urn:airflow-incoming:problem:"


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response of no framework; header names in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def from_outcome(outcome: Outcome) -> Response:
    """Return the answer to a request that was decided."""
    headers: dict[str, str] = {"x-incoming-status": outcome.status}
    if outcome.status == "captured":
        return _json(200, {"status": "captured"}, headers)
    if outcome.status == "accepted":
        return _json(200, {"status": "accepted", "event_id": str(outcome.event_id)}, headers)
    headers["x-incoming-event-id"] = str(outcome.event_id)
    if outcome.duplicate_status == 204:
        return Response(204, b"", _COMMON | headers)
    return _json(200, {"status": "duplicate", "event_id": str(outcome.event_id)}, headers)


def from_error(error: BaseException) -> Response:
    """Return the problem (RFC 9457) that an error is; what we don't know is our fault and logged."""
    if not isinstance(error, errors.IncomingError):
        incident = uuid4()
        log.error("Unexpected error %s", incident, exc_info=error)
        return _problem(errors.Unavailable(), 503, {"retry-after": "5"}, instance=f"urn:uuid:{incident}")
    status = next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)
    if status == 503 and not isinstance(error, errors.Unavailable):
        log.error("Unexpected error", exc_info=error)
        error = errors.Unavailable()
    return _problem(error, status, _headers_of(error))


def from_token(token: IssuedToken) -> Response:
    """Return the answer to an API key (RFC 6749, section 5.1)."""
    return _json(
        200, {"token": token.token, "token_type": "Bearer", "expires_in": token.expires_in}, {}
    )


def from_health(report: HealthReport) -> Response:
    """Return how things are: 503 only when requests can't be accepted."""
    status = 503 if report.status == "unavailable" else 200
    headers = {"retry-after": "5"} if status == 503 else {}
    return _json(status, {"status": report.status, **report.parts}, headers)


_COMMON = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def _headers_of(error: errors.IncomingError) -> dict[str, str]:
    if isinstance(error, errors.Unauthorized):
        return {"www-authenticate": "Bearer"}
    if isinstance(error, errors.MethodNotAllowed):
        return {"allow": "POST"}
    if isinstance(error, errors.RateLimited | errors.Unavailable):
        return {"retry-after": str(max(1, math.ceil(error.retry_after)))}
    return {}


def _problem(
    error: errors.IncomingError, status: int, headers: Mapping[str, str], **more: str
) -> Response:
    body = {
        "type": PROBLEM_TYPE + error.code,
        "title": error.title(),
        "status": status,
        "detail": error.detail,
        "code": error.code,
        **more,
    }
    return _json(status, body, headers, media_type="application/problem+json")


def _json(
    status: int, body: Any, headers: Mapping[str, str], *, media_type: str = "application/json"
) -> Response:
    encoded = json.dumps(body, separators=(",", ":")).encode()
    return Response(
        status,
        encoded,
        {"content-type": media_type, "content-length": str(len(encoded)), **_COMMON, **headers},
    )
