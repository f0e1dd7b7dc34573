"""A task gets the event that started its DAG run in one call."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_incoming.operators.event import IncomingEvent, NotStartedByEvent, incoming_event, incoming_events

CONF = {
    "order.id": 7,
    "order.lines.0.sku": "A",
    "_incoming.event_id": "01890000-0000-7000-8000-000000000001",
    "_incoming.integration": "orders",
    "_incoming.received_at": "2026-03-01T12:00:00+00:00",
    "_incoming.headers.x-request-id": "r1",
}
CONF_ABOUT = {name: value for name, value in CONF.items() if name.startswith("_incoming.")}
EVENT = IncomingEvent(
    event_id="01890000-0000-7000-8000-000000000001",
    integration="orders",
    received_at=datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc),
    headers={"x-request-id": "r1"},
    data={"order.id": 7, "order.lines.0.sku": "A"},
)


def context(conf: dict[str, Any] | None, **assets: list[dict[str, Any] | None]) -> dict[str, Any]:
    events = {name: [SimpleNamespace(extra=extra) for extra in extras] for name, extras in assets.items()}
    return {"dag_run": SimpleNamespace(conf=conf), "triggering_asset_events": events}


def test_out_of_conf() -> None:
    """Conf comes apart into the data and what is about the event; the nested form is the payload sent."""
    event = incoming_event(context(CONF))
    assert event == EVENT
    assert event.payload == {"order": {"id": 7, "lines": [{"sku": "A"}]}}


def test_out_of_an_asset_event() -> None:
    """A run that an asset started has its event in the asset event's extra, once."""
    assert incoming_event(context({}, orders=[CONF], alias=[CONF], other=[None, {"a": 1}])) == EVENT


def test_several_events() -> None:
    """An asset may bring several events, which are asked for in the plural."""
    second = {**CONF, "_incoming.event_id": "2"}
    several = context(None, orders=[CONF, second])
    assert [event.event_id for event in incoming_events(several)] == [EVENT.event_id, "2"]
    with pytest.raises(NotStartedByEvent, match=r"2 events of an asset; use incoming_events\(\)"):
        incoming_event(several)


@pytest.mark.parametrize("conf", [None, {}, {"order.id": 7}])
def test_no_event(conf: dict[str, Any] | None) -> None:
    """A run that was started by hand has none, and is told how to get one."""
    assert incoming_events(context(conf)) == ()
    with pytest.raises(NotStartedByEvent, match="replay an event"):
        incoming_event(context(conf))


def test_out_of_a_watchers_event() -> None:
    """What a watcher's trigger yields is wrapped by Airflow."""
    wrapped = {"from_trigger": True, "payload": CONF}
    assert incoming_event(context(None, watched=[wrapped])) == EVENT
    assert incoming_events(context(None, watched=[{"from_trigger": True, "payload": "a file"}])) == ()


def test_a_body_that_looks_as_if_airflow_had_wrapped_it() -> None:
    """Fields of a body are its own, however they are named."""
    mimic = {**CONF_ABOUT, "from_trigger": True, "from_rest_api": True, "payload": {}}
    event = incoming_event(context(None, orders=[mimic]))
    assert event.data == {"from_trigger": True, "from_rest_api": True, "payload": {}}


def test_the_order_is_that_in_which_they_came() -> None:
    """Airflow gives them by asset, and a watcher may have delivered one twice."""
    ids = [f"01890000-0000-7000-8000-00000000000{number}" for number in range(6)]
    confs = [{**CONF, "_incoming.event_id": event_id} for event_id in ids]
    mixed = context(
        None, first=[confs[5], confs[1]], second=[confs[0], confs[4], confs[1]], third=[confs[3], confs[2]]
    )
    assert [event.event_id for event in incoming_events(mixed)] == ids


def test_out_of_what_was_waited_for() -> None:
    """A task gets the event of another task's result."""
    assert IncomingEvent.from_conf(CONF) == EVENT
    with pytest.raises(NotStartedByEvent, match=r"it has no _incoming\.event_id"):
        IncomingEvent.from_conf({"order.id": 7})


@pytest.mark.parametrize("received_at", [{}, {"_incoming.received_at": "soon"}, {"_incoming.received_at": 7}])
def test_half_an_event(received_at: dict[str, Any]) -> None:
    """A conf that somebody wrote by hand is told what it lacks."""
    with pytest.raises(NotStartedByEvent, match=r"_incoming\.received_at is no ISO 8601 time\. Replay"):
        incoming_event(context({"_incoming.event_id": "1", **received_at}))


def test_records() -> None:
    """An array's items are its records; an object is one record."""
    assert EVENT.records == [EVENT.payload]
    several = IncomingEvent.from_conf({**CONF_ABOUT, "0.a": 1, "1.a": 2})
    assert several.records == [{"a": 1}, {"a": 2}]
