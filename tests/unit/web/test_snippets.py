"""Snippets send what deduplication looks at."""

from __future__ import annotations

from datetime import datetime, timezone
from uuid import UUID

from airflow_incoming.core.records import Sample
from airflow_incoming.web.views.snippets import curl, python, target

SAMPLE = Sample(
    integration_id=UUID(int=1),
    captured_at=datetime(2026, 3, 1, tzinfo=timezone.utc),
    kept_by="ada",
    body="{}",
    headers={"x-request-id": "it's 1", "x-empty": ""},
    query="source=a%26b",
)
CHOSEN = (
    "body.id",
    "header.x-request-id",
    "header.x-empty",
    "header.authorization",
    "query.source",
    "query.q",
)


def test_headers_and_query_of_the_hash_are_sent_with_the_values_of_the_sample() -> None:
    """What it doesn't have gets an example; credentials are never sent, bodies are sent anyway."""
    found = target("http://h/e", token_url=None, parameters=CHOSEN, sample=SAMPLE)
    assert found.headers == {"x-request-id": "it's 1", "x-empty": "example-1"}
    assert found.address == "http://h/e?source=a%26b&q=example-1"
    assert """-H 'x-request-id: it'"'"'s 1'""" in curl(found, "{}")
    assert """"x-request-id": "it's 1\"""" in python(found, "{}")


def test_without_deduplication_nothing_is_added() -> None:
    """The address alone."""
    found = target("http://h/e", token_url=None, parameters=(), sample=SAMPLE)
    assert (found.headers, found.query, found.address) == ({}, {}, "http://h/e")
