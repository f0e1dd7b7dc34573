from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from airflow_incoming.core.conf import build_conf, conf_of, conf_size
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


def test_the_time_of_arrival_is_told_in_utc() -> None:
    """Whatever zone it was noted in."""
    warsaw = timezone(timedelta(hours=1))
    conf = build_conf(
        {},
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
