"""WaitForIncomingEventOperator: what it looks at, what it waits for, and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSkipException,
    TaskDeferralTimeout,
    TaskDeferred,
)

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.stream import Entry, Limits
from airflow_incoming.operators import WaitForIncomingEventOperator, installation
from airflow_incoming.operators.waiting import UnknownIntegration
from airflow_incoming.stores.stream import InMemoryStream
from airflow_incoming.triggers.event import AwaitedEventTrigger


@dataclass
class Task:
    dag_id: str = "d"
    run_id: str = "r"
    task_id: str = "t"
    map_index: int | None = -1


@dataclass
class House:
    """A stream, and the hour of the day."""

    stream: InMemoryStream
    seconds: float

    def publish(self, number: int, **body: Any) -> str:
        event_id = f"01890000-0000-7000-8000-{number:012}"
        self.stream.publish(
            [
                Entry(
                    integration="orders",
                    event_id=event_id,
                    received_at="2026-03-01T12:00:00+00:00",
                    body=json.dumps(body),
                    headers="{}",
                )
            ]
        )
        return event_id


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    house = House(
        InMemoryStream(limits=Limits(length=1000, size=2**30), clock=lambda: house.seconds), 1_700_000_000.0
    )
    monkeypatch.setattr(installation, "stream", lambda: house.stream)
    return house


def operator(**options: Any) -> WaitForIncomingEventOperator:
    return WaitForIncomingEventOperator(**{"task_id": "t", "integration": "orders", **options})


def execute(waiting: WaitForIncomingEventOperator, **ti: Any) -> dict[str, Any]:
    return waiting.execute({"ti": Task(**ti)})


def deferral(waiting: WaitForIncomingEventOperator) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as raised:
        execute(waiting)
    return raised.value


def test_it_looks_back_and_no_further(house: House) -> None:
    """The oldest wanted event within look_back; what is older isn't found."""
    house.publish(1, n=7)
    house.seconds += 3600
    house.publish(2, n=8)
    found = house.publish(3, n=7)
    house.publish(4, n=7)
    house.seconds += 60
    waiting = operator(where={"n": "7"}, look_back=timedelta(minutes=2))
    assert execute(waiting)["_incoming.event_id"] == found
    assert execute(waiting)["n"] == 7


def test_it_defers_from_where_it_has_looked(house: House) -> None:
    """Nothing that is published between the look and the triggerer's beginning can be missed."""
    house.publish(1, n=8)
    last, _ = house.stream.read("orders", after=house.stream.now("orders"), limit=10)[-1]
    deferred = deferral(operator(where={"n": 7}, timeout=timedelta(hours=3)))
    assert deferred.timeout == timedelta(hours=3)
    assert isinstance(deferred.trigger, AwaitedEventTrigger)
    assert deferred.trigger.serialize() == (
        "airflow_incoming.triggers.event.AwaitedEventTrigger",
        {"integration": "orders", "where": {"body.n": "7"}, "after": str(last), "taker": None},
    )
    assert operator().execute_complete({}, {"_incoming.event_id": "e", "n": 7}) == {
        "_incoming.event_id": "e",
        "n": 7,
    }


def test_an_exclusive_event_is_skipped_by_others(house: House) -> None:
    """Each task takes its own, and the same one at every try; so does each index of a mapped task."""
    one, two = house.publish(1, n=7), house.publish(2, n=7)
    waiting = operator(where={"n": 7}, exclusive=True)
    assert execute(waiting)["_incoming.event_id"] == one
    assert execute(waiting, map_index=1)["_incoming.event_id"] == two
    assert execute(waiting)["_incoming.event_id"] == one
    with pytest.raises(TaskDeferred) as raised:
        execute(waiting, run_id="r2")
    assert raised.value.trigger.serialize()[1]["taker"] == "d/r2/t/-1"


def test_a_cleared_task_finds_its_own_event_at_any_age(house: House) -> None:
    """And takes nobody else's, though that comes within look_back and its own doesn't."""
    own = house.publish(1, n=7)
    waiting = operator(where={"n": 7}, exclusive=True)
    assert execute(waiting)["_incoming.event_id"] == own
    house.seconds += 3600
    house.publish(2, n=7)
    assert execute(waiting)["_incoming.event_id"] == own


def test_an_event_that_was_taken_and_is_gone_fails_for_good(house: House) -> None:
    """Rather than taking another one."""
    house.publish(1, n=7)
    waiting = operator(where={"n": 7}, exclusive=True)
    execute(waiting)
    for number in range(2, 1003):
        house.publish(number, n=7)
    with pytest.raises(AirflowFailException, match="The event that this task took before is no longer"):
        execute(waiting)


def test_what_a_task_took_for_something_else_is_left(house: House) -> None:
    """Its DAG may have changed before it was cleared."""
    house.publish(1, n=7)
    execute(operator(where={"n": 7}, exclusive=True))
    other = house.publish(2, n=8)
    assert execute(operator(where={"n": 8}, exclusive=True))["_incoming.event_id"] == other


def test_redis_is_waited_for_in_the_triggerer(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the worker's clock, where Redis can't be asked for its own."""

    def away(integration: str) -> None:
        raise RedisUnavailable("Redis is away.")

    monkeypatch.setattr(house.stream, "now", away)
    monkeypatch.setattr("airflow_incoming.operators.waiting.time.time", lambda: 1_700_000_000.0)
    deferred = deferral(operator(look_back=timedelta(seconds=10)))
    assert deferred.trigger.serialize()[1]["after"] == "1699999989999-0"


def test_an_unknown_integration_is_named(house: House) -> None:
    """Where the names are known; else it is waited for."""
    deferral(operator(integration="ordres"))
    house.stream.announce(["orders", "form"])
    with pytest.raises(UnknownIntegration, match=r"no integration 'ordres'; there are: form, orders\. Check"):
        execute(operator(integration="ordres"))


def test_a_filter_that_came_to_nothing_fails_for_good(house: House) -> None:
    """It would find any event."""
    with pytest.raises(AirflowFailException, match=r"order\.id is empty"):
        execute(operator(where={"order.id": ""}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"where": {"query.a": 1}}, "an event doesn't carry its query string"),
        ({"on_timeout": "retry"}, 'on_timeout must be "fail" or "skip"'),
        ({"look_back": timedelta(seconds=-1)}, "look_back can't be negative"),
        ({"timeout": timedelta(0)}, "timeout must be longer than nothing"),
    ],
)
def test_mistakes_show_when_the_dag_is_parsed(options: dict[str, Any], said: str) -> None:
    """And not at midnight."""
    with pytest.raises(ValueError, match=said):
        operator(**options)


@pytest.mark.parametrize(
    ("reaction", "error"), [("fail", AirflowFailException), ("skip", AirflowSkipException)]
)
def test_a_timeout_says_what_was_waited_for(
    reaction: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no failure that another try could mend."""
    waiting = operator(where={"n": 7}, timeout=timedelta(hours=1), on_timeout=reaction)
    next_kwargs = {"error": "Trigger timeout"}
    with pytest.raises(error, match=r"No event of integration orders with body\.n = 7 came in 1:00:00\."):
        waiting.resume_execution("__fail__", next_kwargs, {})
    assert issubclass(TaskDeferralTimeout, Exception)


def test_no_redis_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the option that is missing."""
    monkeypatch.setenv("AIRFLOW__INCOMING__REDIS_URL", "")
    installation.settings.cache_clear()
    installation.stream.cache_clear()
    with pytest.raises(
        installation.RedisNotConfigured, match="AIRFLOW__INCOMING__REDIS_URL where workers and"
    ):
        execute(operator())
    installation.settings.cache_clear()


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "True"), (None, "None"), (7, "7"), ("+48100200300", "+48100200300"), ("1_000", "1_000")],
)
def test_templates_give_text(native: bool, value: object, text: str) -> None:
    """Whatever the DAG's environment would make of it, which Airflow hands over when a task runs."""
    with DAG("waits", schedule=None, render_template_as_native_obj=native) as dag:
        waiting = operator(where={"n": "{{ dag_run.conf['n'] }}", "large": 2**64})
    context = {"dag_run": SimpleNamespace(conf={"n": value})}
    waiting.render_template_fields(context, dag.get_template_env())  # type: ignore[arg-type]
    assert waiting.where == {"n": text, "large": "18446744073709551616"}
