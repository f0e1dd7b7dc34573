"""What a sender is told, for every outcome and every error there is."""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import UUID

import pytest

from airflow_incoming.core import errors
from airflow_incoming.core.messages import Outcome
from airflow_incoming.web.responses import Response, from_error, from_outcome, status_of

EVENT_ID = UUID("01920000-0000-7000-8000-000000000001")

EXPECTED: dict[type[errors.IncomingError], int] = {
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
    errors.DatabaseUnavailable: 503,
    errors.DatabaseBusy: 503,
    errors.RedisUnavailable: 503,
    errors.Overloaded: 503,
    errors.Stopping: 503,
    errors.Undecided: 503,
    errors.DispatchFailed: 503,
    errors.AlreadyLaunched: 503,
    errors.TransactionLost: 503,
    errors.ManagementError: 400,
    errors.InvalidConfiguration: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Forbidden: 403,
    errors.SecretsUnprotected: 409,
}
ARGUMENTS: dict[type[errors.IncomingError], tuple[Any, ...]] = {
    errors.Unauthorized: ("the signature is wrong",),
    errors.BodyTooLarge: (1048576,),
    errors.ConfTooLarge: (300000, 262144),
    errors.RateLimited: (2.2,),
    errors.UnstorableJSON: ("holds U+0000",),
}


def every_error(cls: type[errors.IncomingError] = errors.IncomingError) -> list[type[errors.IncomingError]]:
    core = [sub for sub in cls.__subclasses__() if sub.__module__ == errors.__name__]
    return [cls, *(found for sub in core for found in every_error(sub))]


def rejections() -> list[errors.IncomingError]:
    told = (errors.RequestRejected, errors.Unavailable)
    return [cls(*ARGUMENTS.get(cls, ())) for cls in every_error() if issubclass(cls, told)]


def problem(response: Response) -> dict[str, Any]:
    return dict(json.loads(response.body))


def test_every_error_of_the_tree_has_the_status_of_the_contract() -> None:
    assert {cls: status_of(cls) for cls in every_error()} == EXPECTED


def test_an_error_that_nobody_listed_has_the_status_of_its_parent() -> None:
    class Sharper(errors.BodyTooLarge):
        """Too sharp."""

    assert status_of(Sharper) == 413


@pytest.mark.parametrize("error", rejections(), ids=lambda error: type(error).__name__)
def test_every_rejection_is_a_whole_problem(error: errors.IncomingError) -> None:
    response = from_error(error)
    headers, body = dict(response.headers), problem(response)
    assert response.status == EXPECTED[type(error)]
    assert headers["Content-Type"] == "application/problem+json"
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert set(body) == {"type", "title", "status", "detail", "code"}
    assert body["type"] == f"urn:airflow-incoming:problem:{error.code}"
    assert body["status"] == response.status
    assert body["title"]
    assert body["detail"]


def test_an_unauthorized_answer_is_the_same_for_every_reason() -> None:
    one, other = from_error(errors.Unauthorized("expired")), from_error(errors.Unauthorized("no such key"))
    assert one == other
    assert dict(one.headers)["WWW-Authenticate"] == "Bearer"
    assert b"expired" not in one.body


def test_a_missing_endpoint_is_the_same_answer_whatever_is_behind_it() -> None:
    assert from_error(errors.EndpointNotFound("draft")) == from_error(errors.EndpointNotFound())


def test_method_not_allowed_names_the_method() -> None:
    assert dict(from_error(errors.MethodNotAllowed()).headers)["Allow"] == "POST"


def test_a_media_type_and_an_encoding_that_are_not_taken_name_those_that_are() -> None:
    """RFC 9110, 15.5.16; each only where it is the reason."""
    media_type = dict(from_error(errors.UnsupportedMediaType()).headers)
    encoding = dict(from_error(errors.UnsupportedMediaType(because="encoding")).headers)
    assert media_type["Accept"] == "application/json, application/*+json"
    assert encoding["Accept-Encoding"] == "identity"
    assert "Accept-Encoding" not in media_type
    assert "Accept" not in encoding


def test_a_large_body_is_told_the_limit() -> None:
    assert "1048576" in problem(from_error(errors.BodyTooLarge(1048576)))["detail"]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (errors.RateLimited(2.2), "3"),
        (errors.RateLimited(0.01), "1"),
        (errors.RateLimited(float("inf")), "86400"),
        (errors.RateLimited(float("nan")), "1"),
        (errors.Unavailable(), "1"),
        (errors.DatabaseUnavailable(), "5"),
    ],
)
def test_retry_after_is_whole_seconds_and_at_least_one(error: errors.IncomingError, seconds: str) -> None:
    assert dict(from_error(error).headers)["Retry-After"] == seconds


def test_an_unavailable_answer_keeps_what_is_broken_inside() -> None:
    response = from_error(errors.DatabaseUnavailable("postgresql://user:secret@db"))
    assert b"secret" not in response.body


@pytest.mark.parametrize(
    "error", [ValueError("secret"), errors.NotFound("API key", "secret"), errors.Conflict("secret")]
)
def test_what_a_sender_should_not_meet_is_an_id_and_a_log_line(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = from_error(error)
    body = problem(response)
    assert (response.status, body["code"]) == (503, "unavailable")
    assert dict(response.headers)["Retry-After"] == "1"
    assert b"secret" not in response.body
    assert body["instance"].startswith("urn:uuid:")
    assert body["instance"].removeprefix("urn:uuid:") in caplog.text


@pytest.mark.parametrize(
    ("outcome", "status", "body", "headers"),
    [
        (
            Outcome(status="accepted", event_id=EVENT_ID),
            200,
            b'{"status": "accepted", "event_id": "01920000-0000-7000-8000-000000000001"}',
            {"X-Incoming-Status": "accepted", "Content-Type": "application/json"},
        ),
        (
            Outcome(status="duplicate", event_id=EVENT_ID),
            204,
            b"",
            {
                "X-Incoming-Status": "duplicate",
                "X-Incoming-Event-Id": "01920000-0000-7000-8000-000000000001",
            },
        ),
        (
            Outcome(status="duplicate", event_id=EVENT_ID, duplicate_status=200),
            200,
            b'{"status": "duplicate", "event_id": "01920000-0000-7000-8000-000000000001"}',
            {
                "X-Incoming-Status": "duplicate",
                "X-Incoming-Event-Id": "01920000-0000-7000-8000-000000000001",
                "Content-Type": "application/json",
            },
        ),
        (
            Outcome(status="captured"),
            200,
            b'{"status": "captured"}',
            {"X-Incoming-Status": "captured", "Content-Type": "application/json"},
        ),
    ],
)
def test_each_outcome_is_told_as_the_contract_says(
    outcome: Outcome, status: int, body: bytes, headers: dict[str, str]
) -> None:
    response = from_outcome(outcome)
    always = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    assert (response.status, response.body, dict(response.headers)) == (status, body, headers | always)


def test_a_204_says_no_length() -> None:
    raw = dict(from_outcome(Outcome(status="duplicate", event_id=EVENT_ID)).raw_headers())
    assert b"content-length" not in raw
    assert raw[b"x-incoming-status"] == b"duplicate"
