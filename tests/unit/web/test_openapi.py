"""The OpenAPI document says what the code says: every status, every code, and no other."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator, ValidationError

from airflow_incoming.core.messages import Outcome
from airflow_incoming.web.responses import from_error, from_health, from_outcome, from_token
from airflow_incoming.web.routes import TOKEN_PATHS
from tests.openapi import DOCUMENT, ENDPOINT, HEALTH, TOKEN, check
from tests.unit.web.conftest import EVENT_ID, Report, Token
from tests.unit.web.test_responses import EXPECTED, rejections


def as_received(response: Any) -> httpx.Response:
    return httpx.Response(response.status, headers=response.raw_headers(), content=response.body)


def test_the_document_names_every_status_and_no_other() -> None:
    """Of an endpoint: what an Outcome is answered with, and each error that a sender may meet."""
    documented = {int(status) for status in DOCUMENT["paths"][ENDPOINT]["post"]["responses"]}
    assert documented == {200, 204} | {EXPECTED[type(error)] for error in rejections()}


def test_the_document_names_every_code_and_no_other() -> None:
    """They are stable: programs may rely on them."""
    documented = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert documented == sorted({error.code for error in rejections()})


def test_the_document_names_every_path() -> None:
    assert set(DOCUMENT["paths"]) == {ENDPOINT, HEALTH, *TOKEN_PATHS}


@pytest.mark.parametrize("error", rejections(), ids=lambda error: type(error).__name__)
def test_every_error_is_answered_as_documented(error: Exception) -> None:
    check(as_received(from_error(error)))


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(status="accepted", event_id=EVENT_ID),
        Outcome(status="captured"),
        Outcome(status="duplicate", event_id=EVENT_ID),
        Outcome(status="duplicate", event_id=EVENT_ID, duplicate_status=200),
    ],
)
def test_every_outcome_is_answered_as_documented(outcome: Outcome) -> None:
    check(as_received(from_outcome(outcome)))


def test_tokens_and_health_are_answered_as_documented() -> None:
    check(as_received(from_token(Token())), TOKEN)
    check(as_received(from_health(Report(status="degraded"))), HEALTH, "get")  # type: ignore[arg-type]
    check(as_received(from_health(Report(status="unavailable"))), HEALTH, "get")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, json={}),
        httpx.Response(204),
        httpx.Response(401, json={}, headers={"WWW-Authenticate": "Bearer"}),
        httpx.Response(
            200, json={"status": "accepted", "more": 1}, headers={"X-Incoming-Status": "accepted"}
        ),
    ],
)
def test_the_check_itself_can_fail(answer: httpx.Response) -> None:
    with pytest.raises((AssertionError, ValidationError)):
        check(answer)


def test_the_schemas_are_schemas() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
