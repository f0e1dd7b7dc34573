from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.admission import AdmissionPolicy, admit
from airflow_incoming.core.conf import conf_of, conf_size
from airflow_incoming.core.errors import (
    BadDeduplicationHash,
    BodyTooLarge,
    ConfTooLarge,
    MalformedJSON,
    RequestRejected,
    Unauthorized,
    UnstorableJSON,
    UnsupportedMediaType,
)
from airflow_incoming.core.integration import Configuration, Deduplication, Limits
from airflow_incoming.core.messages import Claim, Event, Request
from tests.unit.core.samples import (
    EVENT_ID,
    INTEGRATION_ID,
    JWT,
    NOW,
    POLICY,
    TOKEN,
    TOKENS,
    endpoint,
    request,
)


def enter(sent: Request, configuration: Configuration | None = None) -> Event:
    return admit(sent, endpoint(configuration), POLICY, now=NOW, event_id=EVENT_ID)


def test_an_admitted_request_becomes_an_event() -> None:
    """The body exactly as sent, the headers redacted, the claim from the chosen parameters."""
    body = b'{ "order": {"id": 7}, "id": "\\u00e9" }\n'
    configuration = Configuration(
        auth=JWT,
        deduplication=Deduplication(
            parameters=("header.x-request-id", "body.order.id"),
            window=timedelta(days=3),
            duplicate_status=200,
        ),
        dags=("process_order",),
    )
    headers = {"authorization": f"Bearer {TOKEN}", "x-request-id": "abc"}

    event = enter(request(body, headers, query="source=shop"), configuration)

    assert event == Event(
        id=EVENT_ID,
        integration_id=INTEGRATION_ID,
        integration="orders",
        version_id=endpoint().version_id,
        received_at=NOW,
        body='{ "order": {"id": 7}, "id": "\\u00e9" }\n',
        headers={"content-type": "application/json", "authorization": "[redacted]", "x-request-id": "abc"},
        query="source=shop",
        remote="192.0.2.1",
        claim=Claim(
            # printf "parameters${id}13:body.order.id2:i719:header.x-request-id4:sabc" | openssl dgst -sha256
            hash="3faa374925819ae16f49103b65a5347f390e5e69e0a37facab66cc11517dc3c5",
            window=timedelta(days=3),
        ),
        replay_of=None,
        duplicate_status=200,
    )


def test_without_deduplication_there_is_no_claim() -> None:
    """Nor where none of the chosen parameters is present."""
    absent = Configuration(deduplication=Deduplication(parameters=("body.absent",)))

    assert enter(request()).claim is None
    assert enter(request(), absent).claim is None


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (request(headers={"content-type": "text/plain"}), UnsupportedMediaType),
        (request(headers={"content-encoding": "gzip"}), UnsupportedMediaType),
        (request(b'"' + b"x" * 1025), BodyTooLarge),
        (request(b""), MalformedJSON),
        (request(b"{"), MalformedJSON),
        (request(b"7"), MalformedJSON),
        (request(rb'{"a": "\u0000"}'), UnstorableJSON),
        (request(b"[" + b"0," * 20 + b"0]"), UnstorableJSON),
        (request(b'{"' + b"k" * 500 + b'": [1, 2, 3, 4, 5]}'), ConfTooLarge),
        (request(headers={"x-deduplication-hash": "a, b"}), BadDeduplicationHash),
    ],
)
def test_what_is_refused_and_what_a_stranger_learns_of_it(
    sent: Request, error: type[RequestRejected]
) -> None:
    """The sender learns what is wrong; a stranger learns of nothing but the missing credential."""
    deduplication = Deduplication(parameters=("header.x-deduplication-hash",))
    with pytest.raises(error):
        enter(sent, Configuration(deduplication=deduplication))

    with pytest.raises(Unauthorized) as refusal:
        enter(sent, Configuration(auth=JWT, deduplication=deduplication))
    assert refusal.value.detail == "The request isn't authorized."


def test_the_body_is_bounded_to_the_byte() -> None:
    """As many as the limit are accepted; the error says the limit."""
    enter(request(b"{" + b" " * 1022 + b"}"))
    with pytest.raises(BodyTooLarge, match="1024 bytes"):
        enter(request(b"{" + b" " * 1023 + b"}"))


def test_the_conf_is_bounded_to_the_byte() -> None:
    """It is measured with everything that the DAG run receives."""
    configuration = Configuration(headers=("x-request-id",))
    sent = request(headers={"x-request-id": "é" * 10})
    size = conf_size(conf_of(enter(sent, configuration), configuration))

    enter(sent, replace(configuration, limits=Limits(conf=size)))
    with pytest.raises(ConfTooLarge) as refusal:
        enter(sent, replace(configuration, limits=Limits(conf=size - 1)))
    assert (refusal.value.size, refusal.value.limit) == (size, size - 1)
    assert f"has {size} bytes" in refusal.value.detail


def test_an_integration_has_limits_of_its_own() -> None:
    """They replace the installation's, in both directions."""
    long = request(b'{"a": "' + b"x" * 3000 + b'"}')

    with pytest.raises(BodyTooLarge, match="10 bytes"):
        enter(request(), Configuration(limits=Limits(body=10)))
    with pytest.raises(ConfTooLarge):
        enter(long, Configuration(limits=Limits(body=4096)))
    enter(long, Configuration(limits=Limits(body=4096, conf=4096)))


def test_what_surrounds_a_payload_is_no_reason_to_refuse() -> None:
    """It is kept as far as it can be stored."""
    event = enter(
        request(headers={"x-odd": "a\0b"}, query="q=" + "\0" * 3 + "x" * 10_000, remote="\ud800" + "1" * 100)
    )

    assert event.headers["x-odd"] == "a\ufffdb"
    assert event.query == "q=\ufffd\ufffd\ufffd" + "x" * 4091
    assert event.remote == "\ufffd" + "1" * 63
    assert enter(request(remote=None)).remote is None


def test_deduplication_sees_what_was_sent_not_what_is_stored() -> None:
    """Redacted and shortened values would make different requests the same."""
    configuration = Configuration(deduplication=Deduplication(parameters=("header.x-token", "query.q")))
    sent: list[dict[str, Any]] = [
        {"headers": {"x-token": "1"}},
        {"headers": {"x-token": "2"}},
        {"query": "q=" + "x" * 10_000},
        {"query": "q=" + "x" * 10_001},
    ]
    claims = {enter(request(**one), configuration).claim for one in sent}

    assert len(claims) == 4


@given(st.binary(max_size=200) | st.text('{}[]",:0aé\\u', max_size=20).map(str.encode))
def test_any_body_is_admitted_or_refused(body: bytes) -> None:
    """Nothing but a refusal with a code ever comes out."""
    try:
        event = enter(request(body))
    except (BodyTooLarge, ConfTooLarge, MalformedJSON, UnstorableJSON):
        return
    assert event.body.encode() == body


@pytest.mark.parametrize("name", ["max_body", "max_conf", "max_parameters"])
def test_limits_are_positive(name: str) -> None:
    """A limit of 0 would refuse everything; it is a mistake."""
    limits: dict[str, Any] = {"max_body": 1, "max_conf": 1, "max_parameters": 1}
    AdmissionPolicy(**limits, tokens=TOKENS)
    with pytest.raises(ValueError, match="at least 1"):
        AdmissionPolicy(**(limits | {name: 0}), tokens=TOKENS)


def test_what_the_dispatcher_builds_is_what_was_measured() -> None:
    """The stored event gives the same conf again."""
    configuration = Configuration(headers=("x-request-id",))
    event = enter(request(headers={"x-request-id": "r"}), configuration)

    assert conf_of(event, configuration) == {
        "order.id": 7,
        "_incoming.event_id": str(EVENT_ID),
        "_incoming.integration": "orders",
        "_incoming.received_at": "2026-01-01T00:00:00+00:00",
        "_incoming.headers.x-request-id": "r",
    }
