"""Customer records of what came in: of one event, of several at once, and of lists."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_incoming.operators import IdentifyCustomerOperator
from airflow_incoming.operators.event import NotStartedByEvent


def conf(number: int, **data: Any) -> dict[str, Any]:
    return {
        **data,
        "_incoming.event_id": str(number),
        "_incoming.integration": "orders",
        "_incoming.received_at": "2026-03-01T12:00:00+00:00",
        "_incoming.headers.x-customer": f"C-{number}",
    }


class Run:
    """What a task knows of its run, and what it leaves."""

    def __init__(self, conf: dict[str, Any] | None = None, *assets: dict[str, Any]) -> None:
        self.left: dict[str, Any] = {}
        events = {"orders": [SimpleNamespace(extra=extra) for extra in assets]}
        run = SimpleNamespace(conf=conf)
        self.context: Any = {"dag_run": run, "triggering_asset_events": events, "ti": self}

    def xcom_push(self, key: str, value: Any) -> None:
        self.left[key] = value

    def identify(self, **options: Any) -> Any:
        return IdentifyCustomerOperator(task_id="identify", **options).execute(self.context)


def identifiers(found: Any) -> list[dict[str, str]]:
    return [customer["identifiers"] for customer in found]


def test_one_event() -> None:
    """A run of one event gives one customer, whom a header may identify, too."""
    found = Run(conf(1, email="A@example.com", age=7)).identify(
        identifiers={"email": "body.email", "custom_id": "header.x-customer"}
    )
    assert found == {
        "identified_by": "email",
        "identifiers": {"email": "a@example.com", "custom_id": "C-1"},
        "attributes": {"age": 7},
    }


def test_burst() -> None:
    """Events that an asset brought at once are a batch; each has its own headers."""
    run = Run(None, conf(1, email="a@example.com"), conf(2, age=7), conf(3, **{"0.email": "c@example.com"}))
    assert identifiers(run.identify()) == [{"email": "a@example.com"}, {"email": "c@example.com"}]
    assert run.left["unidentified"] == [
        {"index": 1, "reason": "none of these parameters is present: custom_id, email, phone, uuid"}
    ]
    found = run.identify(identifiers={"custom_id": "header.x-customer"})
    assert identifiers(found) == [{"custom_id": "C-1"}, {"custom_id": "C-2"}, {"custom_id": "C-3"}]


def test_one_event_of_an_asset() -> None:
    """A run that assets started gives a list even of one event: the next run may have several."""
    assert identifiers(Run(None, conf(1, email="a@example.com")).identify()) == [{"email": "a@example.com"}]


def test_array() -> None:
    """An event whose payload is an array is a batch; what is no object in it is nobody."""
    run = Run(conf(1, **{"0.email": "a@example.com", "1": "x", "2.email": "c@example.com"}))
    assert identifiers(run.identify()) == [{"email": "a@example.com"}, {"email": "c@example.com"}]
    assert run.left["unidentified"] == [{"index": 1, "reason": "is no object, but str"}]


def test_list() -> None:
    """A list that an author gives is a batch; records without a customer fail it on request."""
    data = [{"email": "a@example.com"}, {"age": 7}]
    assert identifiers(Run().identify(data=data)) == [{"email": "a@example.com"}]
    with pytest.raises(AirflowFailException, match="1 of 2 records have no customer"):
        Run().identify(data=data, on_missing="fail")


@pytest.mark.parametrize(
    ("on_missing", "raised"), [("skip", AirflowSkipException), ("fail", AirflowFailException)]
)
@pytest.mark.parametrize(
    ("data", "said"), [([], "No records"), ([{}], "1 of 1 records"), ({"a": 1}, "No customer: none of these")]
)
def test_nobody(on_missing: Any, raised: type[Exception], data: Any, said: str) -> None:
    """Where there is no customer at all, the task is skipped or fails; an empty list is no success."""
    with pytest.raises(raised, match=said):
        Run().identify(data=data, on_missing=on_missing)


def test_mistakes() -> None:
    """No event, and data that is none, are told."""
    with pytest.raises(NotStartedByEvent, match="was not started by an event"):
        Run().identify()
    with pytest.raises(AirflowFailException, match=r"^data can't be used"):
        Run().identify(data="nonsense")
