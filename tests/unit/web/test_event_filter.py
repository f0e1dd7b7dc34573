"""What the address of the events page says, whatever somebody writes into it."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from werkzeug.datastructures import MultiDict

from airflow_incoming.web.views.event_filter import EventFilter, read_filter
from airflow_incoming.web.views.new_key import NewKeyForm

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def read(**texts: str) -> EventFilter:
    return read_filter(MultiDict({"range": "custom", **texts}), NOW)


def test_a_time_is_in_the_zone_that_is_named_and_shown_in_it() -> None:
    """10:00 in Tokyo is 01:00 UTC; a time with its own offset is shown in the zone, too."""
    chosen = read(since="2026-01-01T10:00", until="2026-01-02T00:00:00+00:00", zone="Asia/Tokyo")
    assert chosen.criteria.since == datetime(2026, 1, 1, 1, tzinfo=timezone.utc)
    assert chosen.local("since") == "2026-01-01T10:00:00"
    assert chosen.local("until") == "2026-01-02T09:00:00"
    assert chosen.query()["zone"] == "Asia/Tokyo"


def test_without_a_zone_it_is_utc() -> None:
    """So is a zone that nobody knows, or that is no name at all."""
    for zone in ("", "Mars/Base", "../../etc/passwd", "Asia", "x" * 5000, "a\0b"):
        chosen = read(since="2026-01-01T10:00:00", zone=zone)
        assert chosen.criteria.since == datetime(2026, 1, 1, 10, tzinfo=timezone.utc)
    assert read(since="2026-01-01T10:00+09:00").local("since") == "2026-01-01T01:00:00"


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "0001-01-01T00:00",
        "0001-01-01T00:00+09:00",
        "9999-12-31T23:59:59",
        "9999-12-31T23:59-09:00",
    ],
)
def test_a_time_at_which_nothing_can_have_come_is_a_mistake(text: str) -> None:
    """It is told at its field, and what was typed is there."""
    for name in ("since", "until"):
        chosen = read(**{name: text})
        assert set(chosen.errors) == {name}
        assert chosen.local(name) == text


def test_a_key_ends_with_the_day_where_its_maker_is() -> None:
    """Midnight in Tokyo is 15:00 UTC."""
    form = NewKeyForm.read({"name": "k", "expires": "date", "expires_on": "2026-03-05", "zone": "Asia/Tokyo"})
    assert form.mistakes(NOW) == {}
    assert NOW + (form.lifetime(NOW) or NOW - NOW) == datetime(2026, 3, 5, 15, tzinfo=timezone.utc)
