"""Triggers on a real Redis, in Airflow's own machinery for shared streams: nothing is lost, nothing doubled.

:class:`Triggerer` does what Airflow's does around it: it subscribes triggers, stores what they yield in a
"database", confirms that, and can be killed between any two of these.
"""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.execution_time.context import AssetStateStoreAccessor, AssetStateStoreAccessors
from airflow.triggers.shared_stream import SharedStreamManager

from airflow_incoming.core.stream import BEGINNING, Entry, Keys, Limits, Position, Sent, Take
from airflow_incoming.operators import installation
from airflow_incoming.stores.redis_connection import connect
from airflow_incoming.stores.stream import RedisStream
from airflow_incoming.triggers import members, reader
from airflow_incoming.triggers.assets import AssetMemory
from airflow_incoming.triggers.event import AwaitedEventTrigger, IncomingEventTrigger
from workbench.redis import RedisCluster, RedisServer

LIMITS = Limits(length=1000, size=2**30)


class Triggerer:
    """One triggerer process: its triggers, and what of theirs was stored."""

    def __init__(
        self, database: dict[int, list[dict[str, Any]]], *, stores: bool = True, asset: str | None = None
    ) -> None:
        self.asset = asset
        self.database = database
        self.stores = stores
        self.manager = SharedStreamManager()
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.unconfirmed: list[int] = []

    def run(self, trigger_id: int, trigger: IncomingEventTrigger) -> None:
        """Run a trigger that is made anew from what Airflow keeps of it."""
        path, kwargs = trigger.serialize()
        assert path == f"airflow_incoming.triggers.event.{type(trigger).__name__}"
        again = type(trigger)(**json.loads(json.dumps(kwargs)))
        assert again.serialize() == (path, kwargs)
        if self.asset is not None:
            again.asset_state_store = AssetStateStoreAccessors(inlets=[Asset(self.asset)])
        self.tasks[trigger_id] = asyncio.create_task(self._run(trigger_id, again))

    async def _run(self, trigger_id: int, trigger: IncomingEventTrigger) -> None:
        key = trigger.shared_stream_key()
        stream = self.manager.subscribe(trigger_id=trigger_id, trigger=trigger, key=key)
        try:
            async for event in trigger.filter_shared_stream(stream):
                seq = self.manager.bind_pending_event(trigger_id=trigger_id, key=key)
                assert seq is not None
                if self.stores:
                    self.database.setdefault(trigger_id, []).append(event.payload)
                    self.unconfirmed.append(seq)
        finally:
            await self.manager.unsubscribe(trigger_id, key)

    async def sync(self) -> None:
        """Confirm what was stored, as happens about once a second."""
        self.manager.confirm_persisted(self.unconfirmed)
        self.unconfirmed.clear()
        await asyncio.sleep(0)

    async def stop(self, *trigger_ids: int) -> None:
        for trigger_id in trigger_ids or tuple(self.tasks):
            task = self.tasks.pop(trigger_id)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def kill(self) -> None:
        """End without any good-bye: nothing more reaches Redis, and memory is gone."""
        for group in self.manager._groups.values():
            group._poll_task.cancel()
            group._pump_task.cancel()
        for task in self.tasks.values():
            task.cancel()
        members._members.clear()


class House:
    def __init__(self, server: RedisServer | RedisCluster) -> None:
        self.server = server
        self.client = server.client()
        self.nodes = [node.client() for node in server.nodes]
        self.stream = RedisStream(connect(server.url, timeout=5), prefix="test", limits=LIMITS)
        self.database: dict[int, list[dict[str, Any]]] = {}
        self.published = 0

    def publish(self, *bodies: Any, integration: str = "orders") -> list[str]:
        """Publish events, and return their ids."""
        ids = []
        for body in bodies:
            self.published += 1
            ids.append(f"01890000-0000-7000-8000-{self.published:012}")
            self.again(ids[-1], body, integration)
        return ids

    def again(self, event_id: str, body: Any, integration: str = "orders") -> None:
        entry = Entry(
            integration=integration,
            event_id=event_id,
            received_at="2026-03-01T12:00:00+00:00",
            body=json.dumps(body),
            headers="{}",
        )
        self.stream.publish([entry])

    def cursors(self) -> list[bytes]:
        """Return the keys of all cursors."""
        return [key for node in self.nodes for key in node.keys("test:{orders}:cursor:*")]

    def connections(self) -> int:
        return sum(len(node.client_list()) for node in self.nodes)

    def stored(self, trigger_id: int) -> list[str]:
        return [payload["_incoming.event_id"] for payload in self.database.get(trigger_id, [])]


@pytest.fixture
def house(any_redis: RedisServer | RedisCluster, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("AIRFLOW__INCOMING__REDIS_URL", any_redis.url)
    monkeypatch.setenv("AIRFLOW__INCOMING__REDIS_PREFIX", "test")
    monkeypatch.setattr(reader, "BLOCK", 50)
    monkeypatch.setattr(reader, "GATHERING", 0.02)
    monkeypatch.setattr(reader, "RENEWED", 0.2)
    monkeypatch.setattr(reader, "LONGEST_PAUSE", 0.2)
    installation.settings.cache_clear()
    yield House(any_redis)
    installation.settings.cache_clear()


def within(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario in an event loop of its own."""

    async def limited() -> None:
        await asyncio.wait_for(scenario(), timeout=30)

    asyncio.run(limited())
    gc.collect()  # what was killed has no good end; CPython 3.11 stumbles over it where it meets it later


async def until(condition: Callable[[], object], triggerer: Triggerer | None = None) -> None:
    for _ in range(500):
        if triggerer is not None:
            await triggerer.sync()
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


def begun(house: House, count: int) -> Callable[[], bool]:
    """Tell whether so many watchers have their cursors."""
    return lambda: len(house.cursors()) == count


def watcher(**where: Any) -> IncomingEventTrigger:
    return IncomingEventTrigger("orders", where)


def test_siblings_share_one_connection(house: House) -> None:
    """Each gets what it wants of what comes after it began; ten of them make one connection (to a node)."""

    async def scenario() -> None:
        house.publish({"n": "before"})
        before = house.connections()
        triggerer = Triggerer(house.database)
        for number in range(10):
            triggerer.run(number, watcher(n=number))
        triggerer.run(99, watcher())
        await until(begun(house, 11))
        assert before < house.connections() <= before + len(house.nodes)
        ids = house.publish(*({"n": number} for number in range(10)))
        await until(lambda: len(house.stored(99)) == 10, triggerer)
        assert house.stored(99) == ids
        assert [house.stored(number) for number in range(10)] == [[each] for each in ids]
        assert house.database[3][0]["n"] == 3
        await triggerer.stop()
        await until(lambda: house.connections() == before)

    within(scenario)


def test_a_killed_triggerer_loses_nothing(house: House) -> None:
    """What came while none ran, and what was yielded and not stored, comes after the restart."""

    async def scenario() -> None:
        first = Triggerer(house.database)
        first.run(1, watcher())
        first.run(2, watcher(kind="odd"))
        await until(begun(house, 2))
        ids = house.publish({"kind": "odd"}, {"kind": "even"})
        await until(lambda: len(house.stored(1)) == 2, first)
        first.stores = False  # it dies before what comes now is stored
        ids += house.publish({"kind": "odd"})
        await asyncio.sleep(0.2)
        first.kill()
        ids += house.publish({"kind": "even"}, {"kind": "odd"})
        second = Triggerer(house.database)
        second.run(1, watcher())
        await until(lambda: len(house.stored(1)) == 5, second)
        await asyncio.sleep(0.2)
        second.run(2, watcher(kind="odd"))  # its sibling has read all that long ago
        await until(lambda: len(house.stored(2)) == 3, second)
        ids += house.publish({"kind": "odd"})
        await until(lambda: len(house.stored(2)) == 4 and len(house.stored(1)) == 6, second)
        await second.stop()
        assert house.stored(1) == ids
        assert house.stored(2) == [ids[0], ids[2], ids[4], ids[5]]

    within(scenario)


def test_stored_but_not_confirmed_comes_again_with_the_same_id(house: House) -> None:
    """At least once: a triggerer that dies after storing tells by the id that it is the same."""

    async def scenario() -> None:
        first = Triggerer(house.database)
        first.run(1, watcher())
        await until(begun(house, 1))
        (event_id,) = house.publish({})
        await until(lambda: house.stored(1) == [event_id])
        first.kill()
        second = Triggerer(house.database)
        second.run(1, watcher())
        await until(lambda: house.stored(1) == [event_id] * 2, second)
        await second.stop()

    within(scenario)


def test_what_is_published_twice_comes_once(house: House) -> None:
    """Also after a restart in between."""

    async def scenario() -> None:
        first = Triggerer(house.database)
        first.run(1, watcher())
        await until(begun(house, 1))
        (one,) = house.publish({"n": 1})
        house.again(one, {"n": 1})
        (two,) = house.publish({"n": 2})
        await until(lambda: len(house.stored(1)) == 2, first)
        await asyncio.sleep(0.2)
        await first.stop()
        house.again(two, {"n": 2})
        (three,) = house.publish({"n": 3})
        second = Triggerer(house.database)
        second.run(1, watcher())
        await until(lambda: len(house.stored(1)) == 3, second)
        await second.stop()
        assert house.stored(1) == [one, two, three]

    within(scenario)


def test_redis_is_waited_for(house: House) -> None:
    """An outage ends no trigger; what is published afterwards comes, also if Redis has lost its memory.

    The place of the watcher is written anew, too: a restart of the triggerer loses nothing after that.
    """

    async def scenario() -> None:
        triggerer = Triggerer(house.database)
        triggerer.run(1, watcher())
        await until(begun(house, 1))
        (before,) = house.publish({"n": 1})
        await until(lambda: len(house.stored(1)) == 1, triggerer)
        house.server.stop()
        try:
            await asyncio.sleep(0.5)
        finally:
            house.server.start()
        await until(begun(house, 1))
        triggerer.kill()
        house.again(before, {"n": 1})  # as dispatchers do with what Redis may have lost
        (after,) = house.publish({"n": 2})
        again = Triggerer(house.database)
        again.run(1, watcher())
        await until(lambda: len(house.stored(1)) == 2, again)
        assert house.stored(1) == [before, after]
        await again.stop()

    within(scenario)


def test_a_flood_fails_no_trigger(house: House) -> None:
    """However many events come, no more are on their way than Airflow keeps for a trigger."""

    async def scenario() -> None:
        triggerer = Triggerer(house.database)
        triggerer.run(1, watcher())
        triggerer.run(2, watcher(n=900))
        await until(begun(house, 2))
        ids = house.publish(*({"n": number} for number in range(1000)))
        await until(lambda: len(house.stored(1)) == 1000, triggerer)
        assert (house.stored(1), house.stored(2)) == (ids, [ids[900]])
        await triggerer.stop()

    within(scenario)


def test_large_events_come_a_few_at_a_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is in memory than may be; what is large is parsed beside the event loop."""
    monkeypatch.setattr(reader, "SIZE_ON_THEIR_WAY", 100_000)
    threads = set()

    def sent_of(integration: str, position: Position, fields: dict[str, str]) -> Sent:
        threads.add(threading.current_thread())
        return parse(integration, position, fields)

    parse = reader.sent_of
    monkeypatch.setattr(reader, "sent_of", sent_of)

    async def scenario() -> None:
        triggerer = Triggerer(house.database)
        triggerer.run(1, watcher())
        await until(begun(house, 1))
        ids = house.publish(*({"s": "x" * 30_000} for _ in range(20)))
        await until(lambda: len(house.stored(1)) == 4)
        await asyncio.sleep(0.5)
        assert len(house.stored(1)) == 4
        assert threading.main_thread() not in threads
        await until(lambda: len(house.stored(1)) == 20, triggerer)
        assert house.stored(1) == ids
        await triggerer.stop()

    within(scenario)


def test_nonsense_is_left_out(house: House) -> None:
    """What somebody else put into a stream doesn't stop it."""

    async def scenario() -> None:
        triggerer = Triggerer(house.database)
        triggerer.run(1, watcher())
        await until(begun(house, 1))
        await triggerer.stop()
        (cursor,) = house.cursors()
        house.client.set(cursor, "nonsense")
        triggerer.run(1, watcher())
        await until(lambda: house.client.get(cursor) != b"nonsense")
        house.client.xadd(Keys(prefix="test").events("orders"), {"who": "knows"})
        ids = house.publish({})
        await until(lambda: house.stored(1) == ids, triggerer)
        await triggerer.stop()

    within(scenario)


def test_one_event_for_all_who_wait(house: House) -> None:
    """Each gets the first that it wants after its position, once, and ends; also if it came before."""

    async def scenario() -> None:
        start, connections = str(house.stream.now("orders")), house.connections()
        (early,) = house.publish({"n": 1})
        triggerer = Triggerer(house.database)
        for number in (1, 2):
            triggerer.run(number, AwaitedEventTrigger("orders", {"n": 1}, after=start))
        triggerer.run(3, AwaitedEventTrigger("orders", {"n": 2}, after=start))
        await until(lambda: house.stored(1) == house.stored(2) == [early])
        late, _ = house.publish({"n": 2}, {"n": 2})
        await until(lambda: house.stored(3) == [late])
        await until(lambda: all(task.done() for task in triggerer.tasks.values()))
        assert house.stored(3) == [late]
        await until(lambda: house.connections() == connections)

    within(scenario)


def test_exclusive_waiters_share_events_out(house: House) -> None:
    """Of three who want the same, each gets an event of its own; who died gets its own again."""

    async def scenario() -> None:
        start = str(house.stream.now("orders"))
        first = Triggerer(house.database, stores=False)
        first.run(1, AwaitedEventTrigger("orders", {}, after=start, taker="one"))
        (event_id,) = house.publish({"n": 1})
        await until(lambda: house.client.get(Keys(prefix="test").taker("orders", event_id)) == b"one")
        first.kill()
        second = Triggerer(house.database)
        for number, taker in ((1, "one"), (2, "two"), (3, "three")):
            second.run(number, AwaitedEventTrigger("orders", {}, after=start, taker=taker))
        await until(lambda: house.stored(1) == [event_id])
        others = house.publish({"n": 2}, {"n": 3})
        await until(lambda: len(house.stored(2)) == len(house.stored(3)) == 1)
        assert sorted(house.stored(2) + house.stored(3)) == others
        await until(lambda: all(task.done() for task in second.tasks.values()))

    within(scenario)


def test_who_took_an_event_gets_it_whenever_it_waits_again(house: House) -> None:
    """Though it begins later: Redis may have been out of reach when the task asked for its own."""

    async def scenario() -> None:
        start = str(house.stream.now("orders"))
        (own,) = house.publish({"n": 1})
        triggerer = Triggerer(house.database)
        triggerer.run(1, AwaitedEventTrigger("orders", {}, after=start, taker="one"))
        await until(lambda: house.stored(1) == [own])
        house.publish({"n": 2})
        await asyncio.sleep(0.01)
        start = str(house.stream.now("orders"))
        triggerer.run(2, AwaitedEventTrigger("orders", {}, after=start, taker="one"))
        house.publish({"n": 3})
        await until(lambda: house.stored(2) == [own])
        await until(lambda: all(task.done() for task in triggerer.tasks.values()))

    within(scenario)


def test_many_exclusive_waiters_are_served_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though reading waits for a second at a time; each of 50 gets an event of its own."""
    monkeypatch.setattr(reader, "BLOCK", 1000)

    async def scenario() -> None:
        start = str(house.stream.now("orders"))
        triggerer = Triggerer(house.database)
        for number in range(50):
            triggerer.run(number, AwaitedEventTrigger("orders", {}, after=start, taker=f"t{number}"))
        await asyncio.sleep(0.2)
        ids = house.publish(*({"n": number} for number in range(50)))
        began = time.monotonic()
        await until(lambda: all(task.done() for task in triggerer.tasks.values()))
        assert time.monotonic() - began < 5
        assert sorted(event for number in range(50) for event in house.stored(number)) == ids

    within(scenario)


def test_who_gave_up_takes_nothing(house: House) -> None:
    """A task that was cancelled before Redis could be asked leaves the event to others."""

    async def scenario() -> None:
        start = str(house.stream.now("orders"))
        triggerer = Triggerer(house.database)
        shared = members.members_of(AwaitedEventTrigger("orders", after=start).shared_stream_key())
        gone = Take(event_id="01890000-0000-7000-8000-000000000001", position=BEGINNING, taker="gone")
        asking = asyncio.ensure_future(shared.take(gone))
        await asyncio.sleep(0)
        asking.cancel()
        triggerer.run(1, AwaitedEventTrigger("orders", {}, after=start, taker="one"))
        ids = house.publish({"n": 1})
        await until(lambda: house.stored(1) == ids)
        await until(lambda: triggerer.tasks[1].done())

    within(scenario)


def test_watchers_of_different_assets_have_their_own_cursors(house: House) -> None:
    """Though they want the same."""

    one, two, none = (
        AssetMemory(accessors and AssetStateStoreAccessors(inlets=[Asset(accessors)]))
        for accessors in ("a", "b", None)
    )
    assert watcher()._cursor(one) != watcher()._cursor(two) != watcher()._cursor(none)
    assert watcher()._cursor(none) == watcher()._cursor(none) != watcher(n=1)._cursor(none)


def test_it_warns_where_airflow_tells_no_assets(caplog: pytest.LogCaptureFixture) -> None:
    """It knows them by a private attribute, which another release may not have."""
    AssetMemory(None)
    AssetMemory(AssetStateStoreAccessors(inlets=[Asset("a")]))
    assert not caplog.records
    AssetMemory(object())
    assert "doesn't tell a trigger which assets it watches" in caplog.text


def test_a_watcher_whose_place_redis_has_lost_begins_with_all_there_is(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow remembers that it has begun; a new watcher begins with what comes next."""
    state: dict[str, Any] = {}

    async def aget(_: AssetStateStoreAccessor, key: str) -> Any:
        return state.get(key)

    async def aset(_: AssetStateStoreAccessor, key: str, value: Any) -> None:
        state[key] = value

    monkeypatch.setattr(AssetStateStoreAccessor, "aget", aget)
    monkeypatch.setattr(AssetStateStoreAccessor, "aset", aset)

    async def scenario() -> None:
        first = Triggerer(house.database, asset="paid")
        first.run(1, watcher())
        await until(begun(house, 1))
        (one,) = house.publish({"n": 1})
        await until(lambda: house.stored(1) == [one], first)
        await first.stop()
        house.server.flush()
        house.again(one, {"n": 1})  # as dispatchers do with what Redis may have lost
        (two,) = house.publish({"n": 2})
        second = Triggerer(house.database, asset="paid")
        second.run(1, watcher())
        second.run(2, watcher(new="yes"))
        await until(begun(house, 2))
        (three,) = house.publish({"n": 3, "new": "yes"})
        await until(lambda: len(house.stored(1)) == 4, second)
        assert house.stored(1) == [one, one, two, three]
        assert house.stored(2) == [three]
        assert "Redis has lost the place of a watcher of integration orders" in caplog.text
        await second.stop()

    within(scenario)


def test_it_says_what_is_wrong(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """No such integration (yet), events lost behind a cursor, no Redis."""

    async def scenario() -> None:
        house.stream.announce(["shop", "form"])
        first = Triggerer(house.database)
        first.run(1, watcher())
        await until(begun(house, 1))
        assert "There is no integration 'orders' (yet); there are: form, shop" in caplog.text
        house.publish({})
        await until(lambda: len(house.stored(1)) == 1, first)
        await asyncio.sleep(0.2)
        await first.stop()
        house.publish(*({"n": number} for number in range(5)))
        house.client.xtrim(Keys(prefix="test").events("orders"), maxlen=2, approximate=False)
        second = Triggerer(house.database)
        second.run(1, watcher())
        await until(lambda: len(house.stored(1)) == 3, second)
        await second.stop()
        assert "Events of integration orders may be lost to a watcher" in caplog.text
        assert "[incoming] stream_length" in caplog.text

    within(scenario)


def test_it_needs_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trigger fails and names the option; nothing else would ever wake its task."""
    monkeypatch.setenv("AIRFLOW__INCOMING__REDIS_URL", "")
    installation.settings.cache_clear()

    async def scenario() -> None:
        triggerer = Triggerer({})
        triggerer.run(1, watcher())
        with pytest.raises(
            installation.RedisNotConfigured, match="AIRFLOW__INCOMING__REDIS_URL where workers"
        ):
            await triggerer.tasks[1]

    within(scenario)
    installation.settings.cache_clear()


def test_it_runs_unshared_too(house: House) -> None:
    """Where Airflow falls back to that."""

    async def scenario() -> None:
        start = str(house.stream.now("orders"))
        ids = house.publish({"n": 1}, {"n": 2})
        events = [event async for event in AwaitedEventTrigger("orders", {"n": 2}, after=start).run()]
        assert [event.payload["_incoming.event_id"] for event in events] == ids[1:]

    within(scenario)


def test_it_is_exclusive_unshared_too(house: House) -> None:
    """Of two that run by themselves in one loop, each gets an event of its own."""

    async def scenario() -> None:
        start = str(house.stream.now("orders"))
        ids = house.publish({"n": 1}, {"n": 2})

        async def wait(taker: str) -> list[str]:
            trigger = AwaitedEventTrigger("orders", after=start, taker=taker)
            return [event.payload["_incoming.event_id"] async for event in trigger.run()]

        assert sorted(await asyncio.gather(wait("one"), wait("two"))) == [[ids[0]], [ids[1]]]

    within(scenario)
