from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from airflow.sdk._shared.serialization import FORBIDDEN_XCOM_KEYS
from airflow.sdk.serde import deserialize, serialize

from airflow_incoming.core.conf import build_conf, conf_of, conf_size, uncarriable
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event
from tests.unit.core.samples import EVENT_ID, INTEGRATION_ID, NOW

CONFIGURATION = Configuration(headers=("x-request-id", "x-absent"))
OURS: dict[str, Any] = {
    "_incoming.event_id": "01900000-0000-7000-8000-000000000001",
    "_incoming.integration": "orders",
    "_incoming.received_at": "2026-01-01T00:00:00+00:00",
    "_incoming.headers.x-request-id": "r-1",
}


def event(body: str) -> Event:
    return Event(
        id=EVENT_ID,
        integration_id=INTEGRATION_ID,
        integration="orders",
        version_id=UUID(int=2),
        received_at=NOW,
        body=body,
        headers={"x-request-id": "r-1", "x-other": "o", "authorization": "[redacted]"},
    )


def test_a_dag_run_receives_the_payload_and_where_it_came_from() -> None:
    """Of the headers only those that the integration passes on and that are there."""
    assert conf_of(event('{"order": {"id": 7}}'), CONFIGURATION) == {"order.id": 7} | OURS


def test_a_payload_can_not_pretend_to_be_us() -> None:
    """Its own _incoming is another parameter."""
    conf = conf_of(
        event('{"_incoming": {"event_id": "forged"}, "_incoming.event_id": "forged"}'), CONFIGURATION
    )

    assert conf == {"\\_incoming.event_id": "forged", "_incoming\\.event_id": "forged"} | OURS


def test_what_airflow_can_not_carry_is_text() -> None:
    """The event keeps the numbers; its conf has what every part of Airflow can carry."""
    conf = conf_of(event('{"n": [18446744073709551616, 6.02214076e23, 7, 1.5]}'), CONFIGURATION)

    assert conf == {"n.0": "18446744073709551616", "n.1": "6.02214076e23", "n.2": 7, "n.3": 1.5} | OURS
    assert uncarriable(conf) is None


def test_airflow_takes_no_parameter_for_a_mark_of_its_own() -> None:
    """XCom would refuse the conf, or read it as an object of a class that a stranger names."""
    conf = conf_of(
        event(json.dumps(dict.fromkeys(FORBIDDEN_XCOM_KEYS, "x") | {"__typename": 1})), CONFIGURATION
    )

    assert conf == {f"\\{key}": "x" for key in FORBIDDEN_XCOM_KEYS} | {"__typename": 1} | OURS
    assert deserialize(serialize(conf)) == conf


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2**64),
        ("n", -(2**63) - 1),
        ("n", 2.0**64),
        ("n", -(2.0**63)),
        ("n", math.inf),
        ("n", math.nan),
        ("text", "\ud800"),
        ("text", "a\0b"),
        ("inner", {"a": 1}),
        ("inner", [1]),
        ("bytes", b"x"),
        ("name\0", 1),
    ],
)
def test_what_can_not_be_carried_is_named(name: str, value: Any) -> None:
    """Before it is handed to a process that others share."""
    assert uncarriable({"fine": 1, "empty": [], name: value}) == name.replace(
        "\0", "\N{REPLACEMENT CHARACTER}"
    )


def test_the_time_of_arrival_is_told_in_utc() -> None:
    """Whatever zone it was noted in."""
    warsaw = timezone(timedelta(hours=1))
    conf = build_conf(
        b"{}",
        Configuration(),
        event_id=EVENT_ID,
        integration="orders",
        received_at=datetime(2026, 1, 1, 1, 0, 0, 5, warsaw),
        headers={},
    )

    assert conf["_incoming.received_at"] == "2026-01-01T00:00:00.000005+00:00"


def test_an_admitted_event_has_its_conf_whatever_the_limits_are_today() -> None:
    """More parameters than the default allows."""
    assert len(conf_of(event(f"[{','.join(['0'] * 10_001)}]"), Configuration())) == 10_004


def test_the_size_of_a_conf_is_its_compact_json_in_utf_8() -> None:
    """{"é":"ą","a":[]} are 18 bytes: printf … | wc -c."""
    assert conf_size({"é": "ą", "a": []}) == 18
    assert conf_size({}) == 2
