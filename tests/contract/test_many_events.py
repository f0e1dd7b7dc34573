"""However many events are held, or wait, or are discarded: no statement is about all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select

from airflow_incoming.core.errors import DatabaseUnavailable, DispatchFailed, NotFound
from airflow_incoming.db import tables
from airflow_incoming.db.engine import reading
from airflow_incoming.services import discarding, housekeeping, manage
from airflow_incoming.services.dispatch import Dispatcher
from airflow_incoming.services.loop import DispatchLoop
from airflow_incoming.services.rights import Trusted
from airflow_incoming.stores import queue
from tests.contract.test_dispatch import House, TableLauncher
from workbench.processes import wait_until

ORDER = '{"order": {"id": 1}}'
FEW = 10


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine)


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if what one statement may touch was a few rows."""
    monkeypatch.setattr(manage, "RELEASED_AT_ONCE", FEW)
    monkeypatch.setattr(housekeeping, "RELEASE_ROWS", FEW)
    monkeypatch.setattr(discarding, "ROWS", FEW)


@pytest.fixture
def touched(engine: Engine) -> Iterator[list[int]]:
    """How many events each UPDATE was about."""
    numbers: list[int] = []

    def note(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        if statement.startswith("UPDATE incoming_event"):
            numbers.append(cursor.rowcount)

    event.listen(engine, "after_cursor_execute", note)
    yield numbers
    event.remove(engine, "after_cursor_execute", note)


def states(house: House) -> list[str]:
    with reading(house.engine) as connection:
        return sorted(connection.scalars(select(tables.event.c.state)))


def hold(house: House, number: int) -> None:
    house.manager.suspend("orders", by=Trusted("test"))
    house.accept(*[ORDER] * number)
    assert house.dispatcher.drain().held == number


def test_the_first_of_many_held_events_are_due_at_once(house: House, touched: list[int]) -> None:
    """Dispatchers release the others, some at a time, and say when there are more."""
    hold(house, 35)
    touched.clear()
    house.manager.resume("orders", by=Trusted("test"))
    assert states(house) == ["accepted"] * 10 + ["held"] * 25
    assert [house.housekeeping.release() for _ in range(4)] == [10, 10, 5, 0]
    assert max(touched) == FEW
    assert house.dispatcher.drain().dispatched == 35


def test_the_first_of_many_that_wait_are_due_when_their_dag_is_there(
    house: House, touched: list[int]
) -> None:
    """The oldest first, and the others between batches."""
    house.launcher.errors["1"] = DispatchFailed("no DAG", retry=True, waiting_for="dag:process_order")
    house.accept(*[ORDER] * 25)
    assert house.dispatcher.drain().failed == 25
    house.launcher.errors.clear()
    assert house.housekeeping.release() == 0
    house.launcher.there.add("process_order")
    touched.clear()
    assert [house.housekeeping.release() for _ in range(4)] == [10, 10, 5, 0]
    assert max(touched) == FEW
    assert house.dispatcher.drain().dispatched == 25


def test_what_is_held_waits_for_nothing_else(house: House) -> None:
    """An event that waited for a DAG, and was then held, runs when it is resumed."""
    house.launcher.errors["1"] = DispatchFailed("no DAG", retry=True, waiting_for="dag:process_order")
    house.accept(ORDER)
    assert house.dispatcher.drain().failed == 1
    house.manager.suspend("orders", by=Trusted("test"))
    house.clock.now += timedelta(hours=2)
    assert house.dispatcher.drain().held == 1
    with reading(house.engine) as connection:
        assert queue.awaited(connection) == set()
    house.launcher.errors.clear()
    house.manager.resume("orders", by=Trusted("test"))
    assert house.dispatcher.drain().dispatched == 1


def test_releases_go_on_between_batches(house: House) -> None:
    """Not two seconds later, and not all before anybody else's event."""
    hold(house, 35)
    house.manager.resume("orders", by=Trusted("test"))
    assert [house.housekeeping.tick() for _ in range(4)] == [True, True, True, False]
    assert states(house) == ["accepted"] * 35


def test_a_drain_ends_when_all_of_them_ran(house: House) -> None:
    """As ``dispatch --once`` says: nothing is due any more."""
    hold(house, 35)
    house.manager.resume("orders", by=Trusted("test"))
    loop = DispatchLoop(house.dispatcher, house.housekeeping, interval=timedelta(seconds=30))
    assert loop.drain().dispatched == 35


def test_what_is_suspended_again_meanwhile_is_held_again(house: House) -> None:
    """Its events keep their place, and none is started."""
    hold(house, 15)
    house.manager.resume("orders", by=Trusted("test"))
    house.manager.suspend("orders", by=Trusted("test"))
    assert house.housekeeping.release() == 0
    assert house.dispatcher.drain().held == 10
    assert states(house) == ["held"] * 15


def test_a_deleted_integration_still_runs_all_that_it_held(house: House) -> None:
    """Its events are released though there is nothing left that could be resumed."""
    hold(house, 25)
    assert house.manager.delete("orders", by=Trusted("test")) == 0
    assert [house.housekeeping.release() for _ in range(3)] == [10, 5, 0]
    assert house.dispatcher.drain().dispatched == 25


def test_many_events_are_discarded_in_pieces(house: House, touched: list[int]) -> None:
    """All of them, held or not, and the number is true."""
    hold(house, 25)
    house.accept(*[ORDER] * 10)
    touched.clear()
    assert house.manager.delete("orders", by=Trusted("test"), discard_pending=True) == 35
    assert max(touched) == FEW
    assert states(house) == ["dead"] * 35
    with pytest.raises(NotFound):
        house.manager.show("orders")


def test_discarding_that_breaks_off_starts_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspended draft is left, and can be deleted again."""
    house.accept(*[ORDER] * 35)
    discard, calls = queue.discard, [0]

    def discard_twice(connection: Connection, *arguments: Any) -> int:
        calls[0] += 1
        if calls[0] == 3:
            raise DatabaseUnavailable
        return discard(connection, *arguments)

    monkeypatch.setattr(queue, "discard", discard_twice)
    with pytest.raises(DatabaseUnavailable):
        house.manager.delete("orders", by=Trusted("test"), discard_pending=True)
    left = house.manager.show("orders")
    assert (left.published, left.suspended) == (None, True)
    assert house.dispatcher.drain().dispatched == 0
    assert states(house) == ["dead"] * 20 + ["held"] * 15
    assert house.manager.delete("orders", by=Trusted("test"), discard_pending=True) == 15
    assert (house.dispatcher.drain().total, house.housekeeping.release()) == (0, 0)


def test_what_ran_meanwhile_is_not_discarded(house: House) -> None:
    """And not counted: its run is there."""
    ids = house.accept(*[ORDER] * 3)
    house.dispatcher.drain()
    with house.engine.begin() as connection:
        assert queue.discard(connection, ids, "late", house.clock.now) == 0
    assert states(house) == ["dispatched"] * 3


def test_discarding_while_dispatchers_run(house: House) -> None:
    """Every event has run or is dead, none is both, none is left; and the number is true."""
    ids = house.accept(*[ORDER] * 200)

    def drain(_: int) -> int:
        return Dispatcher(house.engine, TableLauncher(), clock=house.clock, batch=7).drain().dispatched

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(drain, number) for number in range(3)]
        discarded = pool.submit(house.manager.delete, "orders", by=Trusted("test"), discard_pending=True)
        dispatched = sum(one.result() for one in running)
    assert dispatched + discarded.result() == 200
    dispatched_ids = {event_id for event_id in ids if house.event(event_id).state == "dispatched"}
    assert house.runs() == {f"incoming__orders__{event_id}" for event_id in dispatched_ids}
    assert states(house) == ["dead"] * discarded.result() + ["dispatched"] * dispatched


def test_resuming_and_suspending_while_dispatchers_run(house: House) -> None:
    """However often: each event runs once, and none stays held."""
    ids = house.accept(*[ORDER] * 100)
    done = threading.Event()

    def run(_: int) -> None:
        dispatcher = Dispatcher(house.engine, TableLauncher(), clock=house.clock, batch=3)
        while not done.is_set():
            dispatcher.dispatch_batch()
            house.housekeeping.release()

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run, number) for number in range(2)]
        try:
            for _ in range(10):
                house.manager.suspend("orders", by=Trusted("test"))
                house.manager.resume("orders", by=Trusted("test"))
            wait_until(lambda: states(house) == ["dispatched"] * 100, seconds=30, what="the events")
        finally:
            done.set()
        for one in running:
            one.result()
    assert house.runs() == {f"incoming__orders__{event_id}" for event_id in ids}
