"""Events as CSV and JSON: nothing lost, nothing that a spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import pytest

from airflow_incoming.core.export import MAX_COLUMNS, as_csv, as_json
from airflow_incoming.core.messages import Started
from airflow_incoming.core.records import EventRecord

EVENT = EventRecord(
    id=UUID(int=1),
    integration_id=UUID(int=2),
    integration="orders",
    version_id=UUID(int=3),
    state="dispatched",
    received_at=datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc),
    due_at=None,
    attempts=1,
    error=None,
    dedup_hash=None,
    started=(Started(dag_id="one", run_id="r"), Started(asset="incoming://orders")),
    ended_at=None,
    replay_of=None,
    body="{}",
)


def event(payload: Any, query: str = "") -> EventRecord:
    return replace(EVENT, body=json.dumps(payload), query=query)


def rows(*events: EventRecord) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(as_csv(events)))))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        ("\ufeff=1", "'\ufeff=1"),
        (" \u200b\u2060+1", "' \u200b\u2060+1"),
        ("a;\u200b=1", "a;'\u200b=1"),
        ("\ufeffa", "\ufeffa"),
        ("a;=1", "a;'=1"),
        ("a\n=1", "a\n'=1"),
        ("a=1", "a=1"),
        ("a, -1", "a, -1"),
        ("", ""),
        (-1, "-1"),
        (-1.5, "-1.5"),
        (12345678901234567890, "12345678901234567890"),
        (True, "true"),
        (None, "null"),
        ([], "[]"),
        ('he said "=1"', 'he said "=1"'),
    ],
)
def test_no_cell_is_a_formula_and_numbers_stay_numbers(value: Any, cell: str) -> None:
    """A quote in front of what a spreadsheet would take for a formula, wherever a cell may begin."""
    (row,) = rows(event({"v": value}))
    assert row["body.v"] == cell


def test_the_heads_of_columns_are_cells_too() -> None:
    """Keys come from outside."""
    (row,) = rows(event({"a;=1": 7}))
    assert row["body.a;'=1"] == "7"
    (row,) = rows(replace(EVENT, integration="=evil"))
    assert row["integration"] == "'=evil"


def test_parameters_have_columns_and_the_rest_is_json() -> None:
    """An absent parameter is an empty cell; what came later than the columns were chosen isn't lost."""
    many = {f"k{n:03}": n for n in range(MAX_COLUMNS + 2)}
    first, second = rows(event(many), event({"k001": "x", "other": [1]}))
    assert (first["body.k000"], second["body.k000"], second["body.k001"]) == ("0", "", "x")
    assert json.loads(first["other_parameters"]) == {"body.k100": 100, "body.k101": 101}
    assert json.loads(second["other_parameters"]) == {"body.other.0": 1}


def test_the_facts_of_an_event() -> None:
    """Identity, time in UTC, what it started."""
    (row,) = rows(EVENT)
    assert row["event_id"] == "00000000-0000-0000-0000-000000000001"
    assert row["received_at"] == "2026-03-01T12:00:00+00:00"
    assert (row["runs"], row["assets"], row["error"]) == ("one/r", "incoming://orders", "")


def test_json_is_one_array() -> None:
    """Exact values under their names, and no tag of HTML in it; nothing gives an empty array."""
    text = "".join(as_json([event({"a": {"b": "</script>"}}), event([1])]))
    assert "<" not in text
    assert [item["parameters"] for item in json.loads(text)] == [{"body.a.b": "</script>"}, {"body.0": 1}]
    assert json.loads("".join(as_json([]))) == []


def test_a_stream_is_not_read_ahead() -> None:
    """Of a million events only the first are held."""
    read = 0

    def stream() -> Any:
        nonlocal read
        while True:
            read += 1
            yield EVENT

    lines = as_csv(stream())
    next(lines)
    assert read == 200
    for _ in range(300):
        next(lines)
    assert read <= 301


def test_a_body_that_cannot_be_read_spoils_no_other() -> None:
    odd = replace(EVENT, body="[" * 70 + "]" * 70)
    first, second = rows(odd, event({"a": 1}))
    assert (first["body"], second["body.a"]) == (odd.body, "1")
    found = json.loads("".join(as_json([odd, event({"a": 1})])))
    assert [one["parameters"] for one in found] == [{"body": odd.body}, {"body.a": 1}]
