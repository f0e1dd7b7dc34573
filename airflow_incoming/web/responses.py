"""Outcomes and errors as HTTP responses: the one place that knows status codes. Framework free."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from airflow_incoming.core import errors
from airflow_incoming.core.messages import Outcome
from airflow_incoming.web.ports import HealthReport, IssuedToken

log = logging.getLogger(__name__)

Headers = tuple[tuple[str, str], ...]

#: A class that isn't named has the status of its nearest named ancestor.
STATUSES: Mapping[type[errors.IncomingError], int] = {
    errors.IncomingError: 503,
    errors.RequestRejected: 400,
    errors.EndpointNotFound: 404,
    errors.Unauthorized: 401,
    errors.MethodNotAllowed: 405,
    errors.BodyTimeout: 408,
    errors.BodyTooLarge: 413,
    errors.ConfTooLarge: 413,
    errors.HeadersTooLarge: 431,
    errors.UnsupportedMediaType: 415,
    errors.MalformedJSON: 400,
    errors.UnstorableJSON: 422,
    errors.BadDeduplicationHash: 422,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    # Only ever shown to administrators; a sender who meets one is told Unavailable.
    errors.ManagementError: 400,
    errors.InvalidConfiguration: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Forbidden: 403,
    errors.SecretsUnprotected: 409,
}

#: Of these a stranger learns the title alone: what is behind it is nobody's business outside.
_TITLE_ONLY = (errors.EndpointNotFound, errors.Unauthorized, errors.Unavailable)

#: What a 415 says is taken instead (RFC 9110, 15.5.16).
_TAKEN = {
    "type": ("Accept", "application/json, application/*+json"),
    "encoding": ("Accept-Encoding", "identity"),
}
_MAX_RETRY_AFTER = 86400.0
_ALWAYS: Headers = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
_JSON: Headers = (("Content-Type", "application/json"), *_ALWAYS)
_PROBLEM: Headers = (("Content-Type", "application/problem+json"), *_ALWAYS)
_ACCEPTED: Headers = (("X-Incoming-Status", "accepted"), *_JSON)
_CAPTURED: Headers = (("X-Incoming-Status", "captured"), *_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One HTTP response. Its headers don't say Content-Length; a 204 has no body."""

    status: int
    headers: Headers
    body: bytes = b""

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers as ASGI wants them, Content-Length included where it is allowed."""
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        if self.status != 204:
            raw.append((b"content-length", b"%d" % len(self.body)))
        return raw


def status_of(error: type[errors.IncomingError]) -> int:
    """Return the HTTP status of a class of errors."""
    return next(STATUSES[ancestor] for ancestor in error.__mro__ if ancestor in STATUSES)


def from_outcome(outcome: Outcome) -> Response:
    """Return the answer to a request that was accepted, known already, or captured."""
    if outcome.status == "accepted":
        body = b'{"status": "accepted", "event_id": "%s"}' % str(outcome.event_id).encode("ascii")
        return Response(status=200, headers=_ACCEPTED, body=body)
    if outcome.status == "captured":
        return Response(status=200, headers=_CAPTURED, body=b'{"status": "captured"}')
    event_id = str(outcome.event_id)
    seen: Headers = (("X-Incoming-Status", "duplicate"), ("X-Incoming-Event-Id", event_id))
    if outcome.duplicate_status == 204:
        return Response(status=204, headers=seen + _ALWAYS)
    body = _dump({"status": "duplicate", "event_id": event_id})
    return Response(status=outcome.duplicate_status, headers=seen + _JSON, body=body)


def from_token(issued: IssuedToken) -> Response:
    """Return the answer that carries a fresh JWT."""
    body = {"token": issued.token, "token_type": "Bearer", "expires_in": issued.expires_in}
    return Response(status=200, headers=_JSON, body=_dump(body))


def from_health(report: HealthReport) -> Response:
    """Return the health report: 503 where requests would be answered so, else 200."""
    body = _dump({"status": report.status, **report.parts})
    return Response(status=503 if report.status == "unavailable" else 200, headers=_JSON, body=body)


def from_error(error: Exception) -> Response:
    """Return the problem (RFC 9457) that a sender is told.

    What a sender is not meant to meet (a bug, a management error) is logged with an id, and only
    the id is told.
    """
    if isinstance(error, errors.RequestRejected | errors.Unavailable):
        return _problem(error)
    error_id = uuid4()
    log.error("Unexpected error %s while answering a request", error_id, exc_info=error)
    return _problem(errors.Unavailable(), {"instance": f"urn:uuid:{error_id}"})


def _problem(
    error: errors.RequestRejected | errors.Unavailable, members: Mapping[str, str] | None = None
) -> Response:
    status, title = status_of(type(error)), error.title()
    body = {
        "type": f"urn:airflow-incoming:problem:{error.code}",
        "title": title,
        "status": status,
        "detail": title if isinstance(error, _TITLE_ONLY) else error.detail,
        "code": error.code,
        **(members or {}),
    }
    return Response(status=status, headers=_problem_headers(error), body=_dump(body))


def _problem_headers(error: errors.RequestRejected | errors.Unavailable) -> Headers:
    if isinstance(error, errors.Unauthorized):
        return (("WWW-Authenticate", "Bearer"), *_PROBLEM)
    if isinstance(error, errors.UnsupportedMediaType):
        return (_TAKEN[error.because], *_PROBLEM)
    if isinstance(error, errors.MethodNotAllowed):
        return (("Allow", getattr(error, "allow", "POST")), *_PROBLEM)
    if isinstance(error, errors.RateLimited | errors.Unavailable):
        seconds = math.ceil(min(max(1.0, error.retry_after), _MAX_RETRY_AFTER))
        return (("Retry-After", str(seconds)), *_PROBLEM)
    return _PROBLEM


def _dump(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, default=str).encode("ascii")
