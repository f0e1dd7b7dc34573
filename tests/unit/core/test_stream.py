"""Entries of streams: what is published is what a DAG run would receive."""

from __future__ import annotations

from datetime import datetime, timezone
from uuid import UUID

import pytest

from airflow_incoming.core.conf import conf_of
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event
from airflow_incoming.core.stream import Keys, Position, entry_of, just_before, parse_position, sent_of

EVENT = Event(
    id=UUID("01890000-0000-7000-8000-000000000001"),
    integration_id=UUID("11111111-1111-4111-8111-111111111111"),
    integration="orders",
    version_id=UUID("22222222-2222-4222-8222-222222222222"),
    received_at=datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=timezone.utc),
    body='{"order": {"id": 12345678901234567890, "name": "Zoë", "_x.y": null}, "_incoming": 1}',
    headers={"x-shop": "de", "x-other": "no", "authorization": "[redacted]"},
)
CONFIGURATION = Configuration(headers=("x-shop", "authorization"))


def test_an_entry_gives_the_conf_of_a_run() -> None:
    """Flattened, with what is about the event, and the headers that are passed on; no others."""
    entry = entry_of(EVENT, CONFIGURATION)
    sent = sent_of("orders", Position(7, 1), entry.fields())
    assert sent.event_id == "01890000-0000-7000-8000-000000000001"
    assert sent.conf == conf_of(EVENT, CONFIGURATION)
    assert sent.conf == {
        "order.id": 12345678901234567890,
        "order.name": "Zoë",
        "order._x\\.y": None,
        "\\_incoming": 1,
        "_incoming.event_id": "01890000-0000-7000-8000-000000000001",
        "_incoming.integration": "orders",
        "_incoming.received_at": "2026-03-01T12:00:00.000005+00:00",
        "_incoming.headers.x-shop": "de",
    }


def test_without_a_configuration_no_header_is_passed_on() -> None:
    """An event whose configuration can't be read is published all the same."""
    sent = sent_of("orders", Position(7), entry_of(EVENT, None).fields())
    assert not any(name.startswith("_incoming.headers") for name in sent.conf)


@pytest.mark.parametrize(
    "change", [{"id": "seven"}, {"body": "{"}, {"body": ""}, {"headers": "7"}, {"received_at": "soon"}]
)
def test_what_somebody_else_wrote_is_refused(change: dict[str, str]) -> None:
    """It is told by its position, and not repeated."""
    fields = entry_of(EVENT, CONFIGURATION).fields() | change
    with pytest.raises(ValueError, match=r"Entry 7-0 of orders can't be read\."):
        sent_of("orders", Position(7), fields)


def test_positions_are_ordered_as_numbers() -> None:
    """And not as text."""
    assert parse_position("10-0") > parse_position("9-11") > parse_position("9-2")
    assert str(parse_position("1700000000000-12")) == "1700000000000-12"
    for text in ("", "1", "1-", "-1", "$", "1-1-1", "a-1"):
        with pytest.raises(ValueError, match="is no position"):
            parse_position(text)


def test_keys_of_an_integration_share_a_slot() -> None:
    """Everything of one integration is in one slot of a cluster, and begins with the prefix."""
    keys = Keys(prefix="shop:prod")
    assert keys.events("orders") == "shop:prod:{orders}:events"
    assert keys.cursor("orders", "c") == "shop:prod:{orders}:cursor:c"
    assert keys.taker("orders", "e") == "shop:prod:{orders}:taker:e"
    assert (keys.names, keys.memory) == ("shop:prod:integrations", "shop:prod:memory")


@pytest.mark.parametrize(
    ("position", "expected"),
    [("7-3", "7-2"), ("7-0", "6-18446744073709551615"), ("0-0", "0-0")],
)
def test_just_before_leaves_nothing_out(position: str, expected: str) -> None:
    """The greatest number that Redis gives precedes the next millisecond."""
    assert str(just_before(parse_position(position))) == expected


@pytest.mark.parametrize("headers", ['{"x-shop": "\\ud800"}', '{"x-shop": 18446744073709551616}'])
def test_what_airflow_can_not_carry_is_left_out(headers: str) -> None:
    """It would end the triggerer that hands it on. The parameter is named, not its value."""
    fields = entry_of(EVENT, CONFIGURATION).fields() | {"headers": headers}
    said = r"Airflow can't carry parameter '_incoming\.headers\.x-shop' of entry 7-0 of orders\."
    with pytest.raises(ValueError, match=said):
        sent_of("orders", Position(7), fields)


def test_an_entry_of_an_older_release_is_harmless() -> None:
    """Streams hold bodies as they were sent; what is made of them is what Airflow can carry."""
    fields = entry_of(EVENT, CONFIGURATION).fields() | {"body": '{"n": 18446744073709551616}'}
    assert sent_of("orders", Position(7), fields).conf["n"] == "18446744073709551616"
