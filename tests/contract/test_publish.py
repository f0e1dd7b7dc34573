"""Publishing: every accepted event reaches its stream, at least once, whatever becomes of Redis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, update

from airflow_incoming.core.errors import DatabaseUnavailable, DispatchFailed, RedisUnavailable
from airflow_incoming.core.integration import parse_declaration
from airflow_incoming.core.stream import BEGINNING, Entry, Limits
from airflow_incoming.db import tables
from airflow_incoming.db.engine import transaction
from airflow_incoming.services.dispatch import Dispatcher
from airflow_incoming.services.housekeeping import Housekeeping
from airflow_incoming.services.publish import Publisher
from airflow_incoming.services.rights import Trusted
from airflow_incoming.stores.redis_connection import connect
from airflow_incoming.stores.stream import InMemoryStream, RedisStream
from tests.contract.samples import WEEK
from tests.contract.test_dispatch import House as DispatchHouse
from workbench.redis import RedisServer


class Unreliable(InMemoryStream):
    """A stream that can be out of reach, and lose its memory."""

    def __init__(self) -> None:
        super().__init__(limits=Limits(length=1000, size=2**30))
        self.away = False

    def publish(self, entries: Sequence[Entry]) -> None:
        if self.away:
            raise RedisUnavailable("Redis is away.")
        super().publish(entries)

    def announce(self, names: object) -> bool:
        if self.away:
            raise RedisUnavailable("Redis is away.")
        return super().announce(names)  # type: ignore[arg-type]

    def lose_memory(self) -> None:
        self.__init__()  # type: ignore[misc]


class House(DispatchHouse):
    """The dispatcher's house, with a stream."""

    def __init__(self, engine: Engine, stream: Any) -> None:
        super().__init__(engine)
        self.seconds = 0.0
        self.stream = stream
        self.publisher = Publisher(engine, self.stream, clock=self.clock, monotonic=lambda: self.seconds)
        self.dispatcher = Dispatcher(
            engine, self.launcher, clock=self.clock, batch=10, publisher=self.publisher
        )
        self.publisher.catch_up()  # the stream is new: there is nothing to publish anew

    def published(self) -> list[UUID]:
        read = self.stream.read("orders", after=BEGINNING, limit=10_000)
        return [UUID(fields["id"]) for _, fields in read]

    def catch_up(self) -> None:
        self.seconds += 60  # the circuit breaker lets Redis be tried again
        while self.publisher.catch_up():
            pass


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine, Unreliable())


def test_an_event_is_published_once(house: House) -> None:
    """However often it is tried, and whether it runs or not."""
    house.launcher.errors["waits"] = DispatchFailed("no DAG", retry=True)
    house.launcher.errors["dead"] = DispatchFailed("refused", retry=False)
    ids = house.accept('{"order": {"id": 1}}', '{"order": {"id": "waits"}}', '{"order": {"id": "dead"}}')
    house.dispatcher.drain()
    assert house.published() == ids
    house.clock.now += timedelta(minutes=10)
    house.launcher.errors.clear()
    house.dispatcher.drain()
    assert house.event(ids[1]).state == "dispatched"
    house.catch_up()
    assert house.published() == ids


def test_what_airflow_can_not_carry_is_marked_and_left_out(house: House) -> None:
    """Text of a header that some release stored, and that would end a triggerer; the others go on."""
    if house.engine.dialect.name != "sqlite":
        pytest.skip("this database can't hold such text")
    declared = parse_declaration({"name": "orders", "state": "published", "headers": ["x-shop"]})
    house.version_id = house.manager.apply([declared], by=Trusted("test"))[0].integration.current.id
    first, bad, last = house.accept("{}", "{}", "{}")
    with transaction(house.engine) as connection:
        of_bad = update(tables.event).where(tables.event.c.id == bad)
        connection.execute(of_bad.values(headers={"x-shop": "\ud800"}))
    house.dispatcher.drain()
    assert house.published() == [first, last]
    assert house.event(bad).state == "dead"
    assert "can't carry parameter '_incoming.headers.x-shop'" in (house.event(bad).error or "")


def test_without_redis_events_run_and_are_published_later(house: House) -> None:
    """Dispatching never waits for Redis; what was accepted meanwhile is published when it is back."""
    house.stream.away = True
    ids = house.accept(*(f'{{"order": {{"id": {n}}}}}' for n in range(75)))
    assert house.dispatcher.drain().dispatched == 75
    house.catch_up()
    assert house.published() == []
    house.stream.away = False
    house.seconds += 60
    (late,) = house.accept('{"order": {"id": "late"}}')
    house.dispatcher.drain()
    house.catch_up()
    assert house.published() == [late, *ids]
    house.catch_up()
    assert len(house.published()) == 76


def test_a_commit_that_fails_publishes_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published before the commit: an event may come twice, with the same id, and never not at all."""
    (event_id,) = house.accept('{"order": {"id": 1}}')

    def broken(*_: object) -> None:
        raise DatabaseUnavailable()

    with monkeypatch.context() as patch:
        publish = house.publisher.publish
        patch.setattr(house.publisher, "publish", lambda *args: (publish(*args), broken()))
        with pytest.raises(DatabaseUnavailable):
            house.dispatcher.dispatch_batch()
    assert house.event(event_id).state == "accepted"
    house.dispatcher.drain()
    assert house.published() == [event_id, event_id]


def test_held_events_are_published_when_they_are_released(house: House) -> None:
    """A suspended integration shows its events to nobody."""
    house.manager.suspend("orders", by=Trusted("test"))
    ids = house.accept('{"order": {"id": 1}}')
    house.dispatcher.drain()
    assert house.published() == []
    house.manager.resume("orders", by=Trusted("test"))
    house.dispatcher.drain()
    assert house.published() == ids


def test_a_replay_is_published_with_an_id_of_its_own(house: House) -> None:
    """It is another event."""
    (event_id,) = house.accept('{"order": {"id": 1}}')
    house.dispatcher.drain()
    house.desk.replay([event_id], by=Trusted("test"))
    house.dispatcher.drain()
    first, copy = house.published()
    assert first == event_id != copy


def test_what_redis_has_forgotten_is_published_anew(house: House) -> None:
    """The events of the last hour, oldest first, without those that were not tried yet."""
    house.accept('{"order": {"id": "old"}}')
    house.dispatcher.drain()
    house.clock.now += timedelta(hours=2)
    ids = house.accept('{"order": {"id": 1}}', '{"order": {"id": 2}}')
    house.dispatcher.drain()
    house.stream.lose_memory()
    (untried,) = house.accept('{"order": {"id": 3}}')
    house.catch_up()
    assert house.published() == ids
    house.dispatcher.drain()
    house.catch_up()
    assert house.published() == [*ids, untried]


def test_housekeeping_catches_up_and_tells_names(house: House) -> None:
    """Every two seconds; at once while there is more."""
    now = [0.0]
    chores = Housekeeping(
        house.engine,
        house.launcher,
        clock=house.clock,
        event_retention=WEEK,
        dead_retention=WEEK,
        publisher=house.publisher,
        monotonic=lambda: now[0],
    )
    house.stream.away = True
    ids = house.accept(*(f'{{"order": {{"id": {n}}}}}' for n in range(40)))
    house.dispatcher.drain()
    house.stream.away = False
    house.seconds += 60
    assert chores.tick()
    assert len(house.published()) == 32
    assert not chores.tick()
    assert house.published() == ids
    assert house.stream.names() == {"orders"}


def test_an_event_that_is_gone_is_forgotten(house: House) -> None:
    """Its retention may end while Redis is away."""
    house.stream.away = True
    house.accept('{"order": {"id": 1}}')
    house.dispatcher.drain()
    house.clock.now += 2 * WEEK
    house.housekeeping.purge()
    house.stream.away = False
    house.catch_up()
    assert house.published() == []
    assert not house.publisher.catch_up()


def test_a_full_redis_is_published_to_when_it_has_room_again(
    engine: Engine, redis_server: RedisServer
) -> None:
    """Events run meanwhile, and none is left out afterwards."""
    redis_server.flush()
    client = connect(redis_server.url, timeout=5)
    house = House(engine, RedisStream(client, prefix="test", limits=Limits(length=1000, size=2**20)))
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    try:
        ids = house.accept(*(f'{{"order": {{"id": {n}}}}}' for n in range(40)))
        assert house.dispatcher.drain().dispatched == 40
        house.catch_up()
        assert house.published() == []
    finally:
        client.config_set("maxmemory", 0)
    house.catch_up()
    assert set(house.published()) == set(ids)
    client.close()
