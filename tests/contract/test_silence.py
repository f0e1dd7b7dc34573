"""Who has fallen silent: what the list marks and what the gauge says, however long ago it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, update

from airflow_incoming.core.records import Activity
from airflow_incoming.db import tables
from airflow_incoming.db.engine import transaction
from airflow_incoming.services.gauges import measure
from airflow_incoming.services.housekeeping import Housekeeping
from airflow_incoming.services.rights import Trusted
from airflow_incoming.stores import silence
from tests.contract.receiving import House
from tests.contract.samples import WEEK
from tests.contract.test_dispatch import TableLauncher


class Gauges:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: dict[str, float] = {}

    def gauge(self, name: str, value: float) -> None:
        self.sent[name] = value

    def count(self, *_: Any) -> None:
        raise AssertionError("nothing is counted here")

    def time(self, *_: Any) -> None:
        raise AssertionError("nothing takes time here")


@pytest.fixture
def house(engine: Engine) -> Iterator[House]:
    house = House(engine)
    yield house
    house.close()


@pytest.fixture
def housekeeping(house: House) -> Housekeeping:
    return Housekeeping(
        house.engine, TableLauncher(), clock=house.clock, event_retention=WEEK, dead_retention=WEEK
    )


def heard(house: House, name: str = "orders") -> Activity:
    return house.watch.activity([name])[name]


def silent_for(house: House, name: str = "orders") -> float | None:
    """Return what the gauge says, in seconds."""
    gauges = Gauges()
    measure(house.engine, gauges, house.clock.now)
    return gauges.sent.get(f"incoming.silence.{name}")


def finish(house: House) -> None:
    """Let all events be dispatched now."""
    with transaction(house.engine) as connection:
        values = {"state": "dispatched", "due_at": None, "ended_at": house.clock.now}
        connection.execute(update(tables.event).values(**values))


def kept(house: House) -> int:
    with house.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(tables.event)) or 0


def test_the_newest_event_of_each_integration(house: House) -> None:
    """Of those that were asked for; one that never had any has been silent since it was published."""
    first = house.apply("first", state="published")
    second = house.apply("second", state="published")
    published = house.clock.now - timedelta(seconds=1.001)
    house.apply("third", state="published")
    house.apply("draft")
    for endpoint in (first, second, first):
        house.clock.advance(60)
        assert house.process.post(endpoint) == "accepted"
    house.clock.advance(5)
    found = house.watch.activity(["first", "third", "draft", "unknown"])
    assert set(found) == {"first", "third", "draft"}
    assert found["first"].last_event_at == house.clock.now - timedelta(seconds=5)
    assert heard(house, "second") == Activity(
        published_at=published, last_event_at=house.clock.now - timedelta(seconds=65)
    )
    assert found["third"].last_event_at is None
    assert found["draft"] == Activity(published_at=None, last_event_at=None)
    assert (silent_for(house, "first"), silent_for(house, "second")) == (5, 65)
    assert silent_for(house, "third") == pytest.approx(60 * 3 + 5 + 2 * 1.001)
    assert silent_for(house, "draft") is None


def test_silence_outlasts_the_events(house: House, housekeeping: Housekeeping) -> None:
    """Past the retention nothing of an event is kept but when it came."""
    endpoint = house.apply(state="published")
    assert house.process.post(endpoint) == "accepted"
    came = house.clock.now
    finish(house)
    for days in (8, 40, 400):
        house.clock.now = came + timedelta(days=days)
        housekeeping.purge()
        assert kept(house) == 0
        assert heard(house).last_event_at == heard(house).silent_since == came
        assert silent_for(house) == days * 86400
    assert house.process.post(endpoint) == "accepted"
    assert (heard(house).last_event_at, silent_for(house)) == (house.clock.now, 0)


def test_what_is_remembered_never_goes_back(house: House) -> None:
    """Of several dispatchers one may look late, when only older events are left."""
    endpoint = house.apply(state="published")
    assert house.process.post(endpoint) == "accepted"
    house.clock.advance(60)
    assert house.process.post(endpoint) == "accepted"
    newest = house.clock.now
    with transaction(house.engine) as connection:
        assert [silence.remember(connection), silence.remember(connection)] == [1, 0]
        connection.execute(delete(tables.event).where(tables.event.c.received_at == newest))
        row = {"integration_id": house.manager.show("orders").id, "at": newest - timedelta(seconds=60)}
        connection.execute(silence._moving_on(connection.dialect.name), [row])
    assert heard(house).last_event_at == newest
    house.clock.advance(60)
    assert house.process.post(endpoint) == "accepted"
    with transaction(house.engine) as connection:
        assert silence.remember(connection) == 1
    assert remembered(house) == [house.clock.now]


def remembered(house: House) -> list[datetime]:
    with house.engine.connect() as connection:
        return list(connection.scalars(select(tables.last_event.c.at)))


def test_publishing_begins_anew(house: House) -> None:
    """Whoever was unpublished for weeks isn't silent at once; another version changes nothing."""
    endpoint = house.apply(state="published")
    first = heard(house).published_at
    assert house.process.post(endpoint) == "accepted"
    house.clock.advance(3600)
    house.apply(state="published", title="another")
    house.manager.suspend("orders", by=Trusted("test"))
    assert heard(house).published_at == first
    house.manager.resume("orders", by=Trusted("test"))
    assert heard(house).published_at == first
    house.manager.unpublish("orders", by=Trusted("test"))
    assert heard(house).silent_since is None
    house.clock.advance(30 * 86400)
    again = house.clock.now
    house.apply(state="published")
    assert heard(house).silent_since == again


def test_a_deleted_integration_leaves_nothing_to_its_namesake(
    house: House, housekeeping: Housekeeping
) -> None:
    """Neither what was written down nor its events, which are kept."""
    endpoint = house.apply(state="published")
    assert house.process.post(endpoint) == "accepted"
    housekeeping.purge()
    house.manager.delete("orders", by=Trusted("test"))
    assert remembered(house) == []
    house.apply(state="published")
    assert kept(house) == 1
    assert heard(house).last_event_at is None
