"""What a task triggers has the same name at every try."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_incoming.core.errors import ConfTooLarge, UnstorableJSON
from airflow_incoming.operators.identity import Bounds, Caller, Launch, deduplication_of, plan_launch
from airflow_incoming.operators.payloads import read_payload

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
WEEK = timedelta(days=7)
CALLER = Caller(dag_id="nightly", task_id="load.send", run_id="scheduled__2026-03-01", map_index=3)
PAYLOAD = {"order": {"id": 7}, "_incoming": {"event_id": "forged"}}


def plan(payload: Any = PAYLOAD, **changed: Any) -> Launch:
    given: dict[str, Any] = {
        "caller": CALLER,
        "scope": "nightly.load.send",
        "headers": {},
        "deduplication": deduplication_of(["order.id"], WEEK),
        "now": NOW,
        "bounds": Bounds(max_parameters=100, max_conf=10_000),
    }
    return plan_launch(read_payload(payload), **{**given, **changed})


def test_conf_is_that_of_a_webhook() -> None:
    """The flattened payload, and what is about the event, which no payload can forge."""
    launch = plan(headers={"X-Request-Id": "r1", "Cookie": "secret"})
    assert launch.conf == {
        "order.id": 7,
        "\\_incoming.event_id": "forged",
        "_incoming.event_id": launch.event_id,
        "_incoming.integration": "nightly.load.send",
        "_incoming.received_at": "2026-03-01T12:00:00+00:00",
        "_incoming.headers.x-request-id": "r1",
    }
    assert launch.run_id == f"incoming__nightly-load-send__{launch.event_id}"


def test_same_at_every_try() -> None:
    """Ids depend on the task instance and on the hash, not on the time or on the rest of the payload."""
    first, later = plan(), plan({**PAYLOAD, "note": "changed"}, now=NOW + WEEK)
    assert (first.run_id, first.hash) == (later.run_id, later.hash)


@pytest.mark.parametrize(
    "other",
    [{"dag_id": "x"}, {"task_id": "x"}, {"run_id": "x"}, {"map_index": 4}],
)
def test_every_task_instance_has_its_own_run(other: dict[str, Any]) -> None:
    """Another task instance names another run, and the same hash."""
    first, second = plan(), plan(caller=replace(CALLER, **other))
    assert first.run_id != second.run_id
    assert first.hash == second.hash


def test_scopes_are_apart() -> None:
    """What was sent in one scope says nothing about another."""
    assert plan().hash != plan(scope="other").hash


def test_other_data_is_another_run() -> None:
    """A task that is cleared to send other data triggers anew; without parameters all of the data counts."""
    assert plan().run_id != plan({"order": {"id": 8}}).run_id
    for none in ({"deduplication": None}, {"deduplication": deduplication_of(["absent"], WEEK)}):
        first, other = plan({"a": 1, "b": 2}, **none), plan({"a": 1, "b": 3}, **none)
        assert first.hash is other.hash is None
        assert first.run_id != other.run_id
        assert first.run_id == plan({"b": 2, "a": 1}, **none, now=NOW + WEEK).run_id


def test_short_names_are_of_the_body() -> None:
    """``order.id`` is ``body.order.id``, and names given twice count once."""
    deduplication = deduplication_of(["order.id", "body.order.id", "header.X-Request-Id"], WEEK)
    assert deduplication is not None
    assert deduplication.parameters == ("body.order.id", "header.x-request-id")
    assert deduplication_of("order.id", WEEK) == deduplication_of(["body.order.id"], WEEK)
    assert deduplication_of([], WEEK) is None


def test_nothing_to_deduplicate_by() -> None:
    """A payload without any of the parameters has no hash."""
    assert plan({"a": 1}).hash is None


@pytest.mark.parametrize(
    ("parameters", "window", "said"),
    [
        (["a", "b", "c", "d", "e", "f"], WEEK, "at most 5 parameters make a hash, not 6"),
        (["query.a"], WEEK, "an event doesn't carry its query string. Write body.query.a"),
        (["header.x y"], WEEK, "is not the name of a header"),
        ([7], WEEK, "7 is no name of a parameter"),
        (["a"], timedelta(0), "window must be longer than nothing"),
    ],
)
def test_mistakes(parameters: Any, window: timedelta, said: str) -> None:
    """Mistakes say what to change."""
    with pytest.raises(ValueError, match=said):
        deduplication_of(parameters, window)


def test_limits() -> None:
    """A conf has the limits that a webhook's has."""
    with pytest.raises(UnstorableJSON, match="more than 2 parameters"):
        plan([1, 2, 3], bounds=Bounds(max_parameters=2, max_conf=10_000))
    with pytest.raises(ConfTooLarge, match="the limit for a DAG run is 400 bytes"):
        plan({"text": "x" * 300}, bounds=Bounds(max_parameters=2, max_conf=400))


def test_long_and_strange_scopes_make_valid_run_ids() -> None:
    """A run id has at most 250 characters, all of them allowed."""
    run_id = plan(scope="Zamówienia / nocne.." + "x" * 230).run_id
    assert run_id.startswith("incoming__Zam-wienia-nocne-xxx")
    assert len(run_id) <= 250
