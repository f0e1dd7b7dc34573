"""The dispatcher: each event starts its targets once, or says why not, and never blocks the others."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Column, Engine, MetaData, String, Table, event, insert, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from airflow_incoming.core.errors import (
    AlreadyLaunched,
    BodyTimeout,
    DatabaseUnavailable,
    DispatchFailed,
    TransactionLost,
)
from airflow_incoming.core.integration import parse_declaration
from airflow_incoming.core.messages import PendingEvent, Started
from airflow_incoming.core.records import EventRecord
from airflow_incoming.db import tables
from airflow_incoming.db.engine import reading, transaction
from airflow_incoming.services import manage
from airflow_incoming.services.dispatch import Dispatcher
from airflow_incoming.services.housekeeping import Housekeeping
from airflow_incoming.services.listen import Listening
from airflow_incoming.services.loop import DispatchLoop
from airflow_incoming.services.manage import Bounds, Manager
from airflow_incoming.services.replay import EventDesk
from airflow_incoming.services.rights import Trusted
from airflow_incoming.services.tally import Tally
from airflow_incoming.services.teams import awaited
from airflow_incoming.stores import events, queue
from airflow_incoming.stores.bell import Bell
from airflow_incoming.stores.inbox import Inbox
from airflow_incoming.stores.redis_connection import connect
from tests.contract.clerks import Airflow, Clerk
from tests.contract.samples import NOW, WEEK, make_event, random_hash
from workbench.processes import wait_until
from workbench.redis import RedisServer

runs = Table("test_runs", MetaData(), Column("run_id", String(200), primary_key=True))


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class TableLauncher:
    """Writes each run into a table, in the dispatcher's transaction, as Airflow does."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.there: set[str] = set()
        self.together: set[str] = set()
        self.prepared: list[int] = []
        self.reserved: list[set[str]] = []
        self.announced = 0
        self.alone = 0

    def reserve(self, session: Session, assets: Collection[str]) -> None:
        self.reserved.append(set(assets))

    def prepare(self, session: Session, pending: Sequence[PendingEvent]) -> None:
        self.prepared.append(len(pending))

    def launch_together(
        self, session: Session, pending: Sequence[PendingEvent]
    ) -> Mapping[UUID, tuple[Started, ...]]:
        together = [one for one in pending if str(one.conf.get("order.id")) in self.together]
        if not together:
            return {}
        with session.begin_nested():
            session.execute(insert(runs), [{"run_id": _run_id(one)} for one in together])
            for one in together:
                self._fail(one)
        return {one.event.id: _started(one) for one in together}

    def launch(self, session: Session, one: PendingEvent) -> tuple[Started, ...]:
        self.alone += 1
        session.execute(insert(runs).values(run_id=_run_id(one)))
        self._fail(one)
        return _started(one)

    def _fail(self, one: PendingEvent) -> None:
        error = self.errors.get(str(one.conf.get("order.id")))
        if error is not None:
            raise error

    def ready(self, session: Session, dag_ids: Collection[str], asset_uris: Collection[str]) -> set[str]:
        return {f"dag:{dag}" for dag in dag_ids if dag in self.there}

    def ask_for_runs(self, session: Session) -> None:
        """There are no consumers here."""

    def announce(self) -> None:
        self.announced += 1

    def discard(self) -> None:
        pass


def _run_id(one: PendingEvent) -> str:
    return f"incoming__{one.event.integration}__{one.event.id}"


def _started(one: PendingEvent) -> tuple[Started, ...]:
    return tuple(Started(dag_id=dag, run_id=_run_id(one)) for dag in one.configuration.dags)


class House:
    """Everything around one dispatcher."""

    def __init__(self, engine: Engine) -> None:
        runs.metadata.create_all(engine)
        self.engine = engine
        self.clock = Clock()
        self.launcher = TableLauncher()
        self.dispatcher = Dispatcher(engine, self.launcher, clock=self.clock, batch=10)
        self.manager = Manager(engine, clock=self.clock, bounds=Bounds(max_body=2**20))
        self.desk = EventDesk(engine, None, clock=self.clock)
        self.housekeeping = Housekeeping(
            engine, self.launcher, clock=self.clock, event_retention=WEEK, dead_retention=2 * WEEK
        )
        declared = parse_declaration({"name": "orders", "state": "published", "dags": ["process_order"]})
        found = self.manager.apply([declared], by=Trusted("test"))[0].integration
        self.integration_id, self.version_id = found.id, found.current.id

    def accept(self, *bodies: str) -> list[UUID]:
        accepted = [
            make_event(
                random_hash(),
                integration_id=self.integration_id,
                version_id=self.version_id,
                received_at=self.clock.now,
                body=body,
            )
            for body in bodies
        ]
        Inbox(self.engine).append(accepted, now=self.clock.now)
        return [event.id for event in accepted]

    def event(self, event_id: UUID) -> EventRecord:
        return self.desk.show(event_id)

    def runs(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.scalars(select(runs.c.run_id)))


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine)


def test_an_event_becomes_a_run_and_is_marked(house: House) -> None:
    """The run and the mark are committed together; the second look finds nothing."""
    (event_id,) = house.accept('{"order": {"id": 7}}')
    tally = house.dispatcher.drain()
    assert (tally.dispatched, tally.failed, tally.dead, tally.held) == (1, 0, 0, 0)
    event = house.event(event_id)
    run_id = f"incoming__orders__{event_id}"
    assert (event.state, event.started, event.due_at) == (
        "dispatched",
        (Started(dag_id="process_order", run_id=run_id),),
        None,
    )
    assert house.runs() == {run_id}
    assert house.dispatcher.drain().total == 0


def test_the_assets_of_a_batch_are_reserved_at_once(house: House) -> None:
    """Of all its parts and before any: who takes them one after the other may wait in a circle."""
    targets = {"name": "orders", "state": "published", "assets": ["z", "a"]}
    found = house.manager.apply([parse_declaration(targets)], by=Trusted("test"))[0].integration
    house.version_id = found.current.id
    house.accept(*[f'{{"order": {{"id": {number}}}, "x": "{"x" * 2**20}"}}' for number in range(3)])
    house.dispatcher.drain()
    assert house.launcher.reserved == [{"a", "z"}]
    assert len(house.launcher.prepared) > 1


def test_a_failing_event_rolls_back_alone(house: House) -> None:
    """Nothing of it remains, its neighbours run, and it says why in plain words."""
    house.launcher.errors["bad"] = DispatchFailed("DAG 'x' refuses order.id.", retry=False)
    good, bad, fine = house.accept('{"order": {"id": 1}}', '{"order": {"id": "bad"}}', '{"order": {"id": 2}}')
    house.dispatcher.drain()
    assert [house.event(e).state for e in (good, bad, fine)] == ["dispatched", "dead", "dispatched"]
    assert house.event(bad).error == "DAG 'x' refuses order.id."
    assert len(house.runs()) == 2


def test_an_unknown_error_is_tried_again_with_growing_pauses(house: House) -> None:
    """1, 2, 4 seconds …; when the cause is gone, it runs."""
    house.launcher.errors["odd"] = RuntimeError("something odd")
    (event_id,) = house.accept('{"order": {"id": "odd"}}')
    pauses = []
    for _ in range(4):
        house.dispatcher.drain()
        event = house.event(event_id)
        assert event.state == "failed"
        assert event.due_at is not None
        pauses.append((event.due_at - house.clock.now).total_seconds())
        house.clock.now = event.due_at
    assert pauses == [1, 2, 4, 8]
    assert "RuntimeError: something odd" in (house.event(event_id).error or "")
    house.launcher.errors.clear()
    house.dispatcher.drain()
    assert house.event(event_id).state == "dispatched"
    assert house.event(event_id).error is None


def test_an_event_is_given_up_after_a_day(house: House) -> None:
    """A retry that can't help any more ends; the event stays and can be replayed."""
    house.launcher.errors["odd"] = DispatchFailed("DAG 'x' does not exist.", retry=True)
    (event_id,) = house.accept('{"order": {"id": "odd"}}')
    house.dispatcher.drain()
    house.clock.now += timedelta(days=1)
    house.dispatcher.drain()
    assert house.event(event_id).state == "dead"
    assert house.event(event_id).error == "DAG 'x' does not exist. Given up after 2 attempts."


def test_an_event_runs_as_soon_as_its_dag_exists(house: House) -> None:
    """What waits for a DAG is tried when the DAG appears, not when a pause ends."""
    house.launcher.errors["early"] = DispatchFailed("no DAG", retry=True, waiting_for="dag:process_order")
    (event_id,) = house.accept('{"order": {"id": "early"}}')
    house.dispatcher.drain()
    assert house.housekeeping.release() == 0
    house.launcher.errors.clear()
    house.launcher.there.add("process_order")
    assert house.housekeeping.release() == 1
    house.dispatcher.drain()
    assert house.event(event_id).state == "dispatched"


@pytest.mark.parametrize("then", ["published", "applied", "no teams"])
def test_what_was_published_before_there_were_teams_runs_once_it_is_published_again(
    house: House, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """It waits as what waits for a DAG does; an unchanged file publishes, too. Or Airflow has none again."""
    error = DispatchFailed("no team", retry=True, waiting_for=awaited(house.version_id))
    house.launcher.errors["early"] = error
    (event_id,) = house.accept('{"order": {"id": "early"}}')
    Airflow(house.engine).deploy("process_order")
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    house.dispatcher.drain()
    assert house.housekeeping.release() == 0
    if then == "published":
        house.manager.publish("orders", by=Clerk(dags=frozenset({"process_order"})))
    elif then == "applied":
        declared = parse_declaration({"name": "orders", "state": "published", "dags": ["process_order"]})
        house.manager.apply([declared], by=Trusted("test"))
    else:
        monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "False")
    house.launcher.errors.clear()
    assert house.housekeeping.release() == 1
    house.dispatcher.drain()
    assert house.event(event_id).state == "dispatched"


def test_whoever_takes_the_name_of_a_deleted_integration_holds_up_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had accepted runs, though another of this name is suspended; what that one has stays held."""
    monkeypatch.setattr(manage, "RELEASED_AT_ONCE", 1)
    cli = Trusted("test")
    house.manager.suspend("orders", by=cli)
    old = house.accept(*['{"order": {"id": "old"}}'] * 3)
    house.dispatcher.drain()
    house.manager.delete("orders", by=cli)
    declared = parse_declaration({"name": "orders", "state": "suspended", "dags": ["process_order"]})
    found = house.manager.apply([declared], by=cli)[0].integration
    house.integration_id, house.version_id = found.id, found.current.id
    (new,) = house.accept('{"order": {"id": "new"}}')
    house.dispatcher.drain()
    assert house.housekeeping.release() == 2
    house.dispatcher.drain()
    assert {house.event(each).state for each in old} == {"dispatched"}
    assert house.event(new).state == "held"
    assert house.housekeeping.release() == 0


def test_what_waits_for_a_dag_is_left_alone(house: House) -> None:
    """Only its DAG makes it due at once: thousands that wait, tried again and again, would delay others."""
    error = DispatchFailed("no DAG", retry=True, waiting_for="dag:process_order")
    house.launcher.errors["early"] = error
    ids = house.accept(*['{"order": {"id": "early"}}'] * 20)
    house.dispatcher.drain()
    pauses = [((house.event(e).due_at or NOW) - house.clock.now).total_seconds() for e in ids]
    assert min(pauses) >= 3600
    assert max(pauses) < 7200
    assert len(set(pauses)) > 10


def test_what_waits_in_vain_is_given_up_in_time(house: House) -> None:
    """Not later than anything else that fails."""
    house.launcher.errors["never"] = DispatchFailed("no DAG", retry=True, waiting_for="dag:process_order")
    (event_id,) = house.accept('{"order": {"id": "never"}}')
    tries = 0
    while house.event(event_id).state != "dead":
        house.clock.now = max(house.clock.now, house.event(event_id).due_at or NOW)
        tries += house.dispatcher.drain().total
    assert house.clock.now == NOW + timedelta(days=1)
    assert tries <= 25


def test_a_name_that_no_index_holds_is_tried_again_by_time(house: House) -> None:
    """An asset may have a URI of 1500 characters."""
    target = "asset:" + "ř" * 1500
    house.launcher.errors["long"] = DispatchFailed("no asset", retry=True, waiting_for=target)
    (event_id,) = house.accept('{"order": {"id": "long"}}')
    house.dispatcher.drain()
    assert house.event(event_id).due_at == house.clock.now + timedelta(seconds=1)
    fits = "asset:" + "😀" * 594
    house.launcher.errors["long"] = DispatchFailed("no asset", retry=True, waiting_for=fits)
    house.clock.now += timedelta(seconds=1)
    house.dispatcher.drain()
    with reading(house.engine) as connection:
        assert queue.awaited(connection) == {fits}


def test_a_batch_that_fails_writes_few_lines(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """One for its integration, with the ids, and one traceback for each kind of error."""
    house.launcher.errors["odd"] = RuntimeError("something odd")
    house.launcher.errors["bad"] = DispatchFailed("no", retry=False)
    odd = house.accept(*['{"order": {"id": "odd"}}'] * 5)
    bad = house.accept(*['{"order": {"id": "bad"}}'] * 5)
    caplog.set_level("WARNING")
    house.dispatcher.dispatch_batch()
    told = {
        fields["state"]: fields for record in caplog.records if (fields := getattr(record, "fields", None))
    }
    assert {state: fields["event_ids"] for state, fields in told.items()} == {
        "failed": [str(event_id) for event_id in odd],
        "dead": [str(event_id) for event_id in bad],
    }
    assert len(caplog.records) == 3


def test_a_run_that_another_made_counts_as_done(house: House) -> None:
    """The run id is the second lock."""
    started = (Started(dag_id="process_order", run_id="r"),)
    house.launcher.errors["twin"] = AlreadyLaunched("exists", started=started)
    (event_id,) = house.accept('{"order": {"id": "twin"}}')
    house.dispatcher.drain()
    assert (house.event(event_id).state, house.event(event_id).started) == ("dispatched", started)


def test_an_event_that_ends_the_transaction_spoils_one_batch_only(house: House) -> None:
    """The batch is taken anew without it."""
    house.launcher.errors["spoiler"] = TransactionLost("Airflow rolled back.")
    good, bad = house.accept('{"order": {"id": 1}}', '{"order": {"id": "spoiler"}}')
    house.dispatcher.dispatch_batch()
    assert [house.event(e).state for e in (good, bad)] == ["dispatched", "failed"]
    assert len(house.runs()) == 1


def test_an_event_that_the_database_refuses_is_set_aside(house: House) -> None:
    """The third batch that it ends is the last one."""
    house.launcher.errors["heavy"] = OperationalError("insert", {}, Exception("too much"))
    good, bad = house.accept('{"order": {"id": 1}}', '{"order": {"id": "heavy"}}')
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            house.dispatcher.dispatch_batch()
    house.dispatcher.dispatch_batch()
    assert [house.event(e).state for e in (good, bad)] == ["dispatched", "failed"]
    assert "too much" in (house.event(bad).error or "")


def test_what_fails_together_is_started_alone(house: House) -> None:
    """One event costs its neighbours nothing but time."""
    house.launcher.together = {"1", "bad"}
    house.launcher.errors["bad"] = RuntimeError("a constraint")
    good, bad, fine = house.accept('{"order": {"id": 1}}', '{"order": {"id": "bad"}}', '{"order": {"id": 2}}')
    house.dispatcher.dispatch_batch()
    assert [house.event(e).state for e in (good, bad, fine)] == ["dispatched", "failed", "dispatched"]
    assert house.runs() == {f"incoming__orders__{event_id}" for event_id in (good, fine)}
    [started] = house.event(good).started
    assert started.run_id == f"incoming__orders__{good}"
    assert "RuntimeError: a constraint" in (house.event(bad).error or "")


def test_the_others_are_started_together_all_the_same(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """One event whose rows the database refuses is started alone, ninety-nine are not."""
    house.launcher.together = {"1", "bad"}
    house.launcher.errors["bad"] = RuntimeError("out of range")
    house.accept(*['{"order": {"id": 1}}'] * 60, '{"order": {"id": "bad"}}', *['{"order": {"id": 1}}'] * 39)
    dispatcher = Dispatcher(house.engine, house.launcher, clock=house.clock, batch=100)
    tally = dispatcher.dispatch_batch()
    assert (tally.dispatched, tally.failed, house.launcher.alone) == (99, 1, 1)
    assert len([text for text in caplog.messages if "could not be started together" in text]) == 1


def test_an_event_that_the_database_refuses_together_is_found_out(house: House) -> None:
    """The next batches start each alone, and the third of them sets the guilty one aside."""
    house.launcher.together = {"1", "heavy"}
    house.launcher.errors["heavy"] = OperationalError("insert", {}, Exception("too much"))
    good, bad = house.accept('{"order": {"id": 1}}', '{"order": {"id": "heavy"}}')
    for _ in range(4):
        with pytest.raises(DatabaseUnavailable):
            house.dispatcher.dispatch_batch()
        assert house.runs() == set()
    house.dispatcher.dispatch_batch()
    assert [house.event(e).state for e in (good, bad)] == ["dispatched", "failed"]
    assert "too much" in (house.event(bad).error or "")


def test_a_batch_costs_the_same_statements_whatever_its_size(house: House) -> None:
    """Look, take, suspended?, the launcher's, mark: as many for 100 events as for one."""
    house.launcher.together = {"1"}
    house.accept('{"order": {"id": 1}}')
    house.dispatcher.drain()
    dispatcher = Dispatcher(house.engine, house.launcher, clock=house.clock)
    counts = []
    for number in (1, 100):
        house.accept(*['{"order": {"id": 1}}'] * number)
        seen: list[str] = []

        def note(_: object, __: object, statement: str, *___: object, seen: list[str] = seen) -> None:
            seen.append(statement.strip())

        event.listen(house.engine, "before_cursor_execute", note)
        assert dispatcher.dispatch_batch().dispatched == number
        event.remove(house.engine, "before_cursor_execute", note)
        counts.append(len([text for text in seen if text.startswith(("SELECT", "UPDATE", "INSERT"))]))
    # PostgreSQL's limits for the two transactions are statements, too; configurations are read once.
    extra = 2 if house.engine.dialect.name == "postgresql" else 0
    assert counts == [6 + extra, 5 + extra]


def test_large_bodies_are_started_in_parts(house: House) -> None:
    """Parsed bodies are many times as large: not all of a batch are in memory at once."""
    house.launcher.together = {"1"}
    body = json.dumps({"order": {"id": 1}, "text": "x" * 900_000})
    ids = house.accept(*[body] * 7)
    assert house.dispatcher.dispatch_batch().dispatched == 7
    assert house.launcher.prepared == [3, 3, 1]
    assert {house.event(e).state for e in ids} == {"dispatched"}


def test_waiting_for_others_makes_no_small_batches(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another dispatcher, or a scheduler that makes a run: one event waits as long as ten."""
    now = [0.0]

    def wait(*_: object) -> None:
        now[0] += 2

    monkeypatch.setattr(house.launcher, "reserve", wait)
    monkeypatch.setattr(house.launcher, "ask_for_runs", wait)
    dispatcher = Dispatcher(
        house.engine, house.launcher, clock=house.clock, batch=10, monotonic=lambda: now[0]
    )
    house.accept(*['{"order": {"id": 1}}'] * 30)
    assert [dispatcher.dispatch_batch().total for _ in range(3)] == [10, 10, 10]


def test_batches_take_a_quarter_of_a_second(house: House) -> None:
    """Their rows are locked meanwhile: what is slow is taken in small batches, what is fast in large."""
    now = 0.0
    pause = 0.1

    def monotonic() -> float:
        return now

    class Slow(TableLauncher):
        def launch(self, session: Session, one: PendingEvent) -> tuple[Started, ...]:
            nonlocal now
            now += pause
            return super().launch(session, one)

    dispatcher = Dispatcher(house.engine, Slow(), clock=house.clock, batch=20, monotonic=monotonic)
    house.accept(*['{"order": {"id": 1}}'] * 100)
    sizes = [dispatcher.dispatch_batch().total for _ in range(3)]
    pause = 0.001
    sizes += [dispatcher.dispatch_batch().total for _ in range(5)]
    assert sizes == [20, 2, 2, 2, 4, 8, 16, 20]


def test_a_body_that_no_longer_parses_spoils_nothing(house: House) -> None:
    """Whatever a stored event has become, the others run."""
    good, bad, deep = house.accept('{"order": {"id": 1}}', "not json", "[" * 70 + "]" * 70)
    house.dispatcher.dispatch_batch()
    assert [house.event(e).state for e in (good, bad, deep)] == ["dispatched", "failed", "failed"]
    assert "can't read the event's body" in str(house.event(deep).error)


def test_a_suspended_integration_holds_and_a_resumed_one_goes_on(house: House) -> None:
    """Nothing is lost in between."""
    house.manager.suspend("orders", by=Trusted("test"))
    ids = house.accept(*['{"order": {"id": 1}}'] * 12)
    assert house.dispatcher.drain().held == 12
    assert {house.event(e).state for e in ids} == {"held"}
    assert house.runs() == set()
    house.manager.resume("orders", by=Trusted("test"))
    assert house.dispatcher.drain().dispatched == 12


def test_a_deleted_integration_still_runs_what_it_accepted(house: House) -> None:
    """A 200 is kept; unless the administrator discards it in so many words."""
    (kept,) = house.accept('{"order": {"id": 1}}')
    assert house.manager.delete("orders", by=Trusted("test")) == 0
    house.dispatcher.drain()
    assert house.event(kept).state == "dispatched"


def test_discarded_events_are_dead(house: House) -> None:
    """Deleting with discard_pending says how many it cost."""
    (lost,) = house.accept('{"order": {"id": 1}}')
    assert house.manager.delete("orders", by=Trusted("me"), discard_pending=True) == 1
    assert house.dispatcher.drain().total == 0
    assert house.event(lost).error == "Discarded when orders was deleted by me."


def test_many_dispatchers_never_run_an_event_twice(house: House) -> None:
    """Four dispatchers drain two hundred events: two hundred runs."""
    ids = house.accept(*['{"order": {"id": 1}}'] * 200)

    def drain(_: int) -> int:
        return Dispatcher(house.engine, TableLauncher(), clock=house.clock, batch=7).drain().dispatched

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(drain, range(4))) == 200
    assert house.runs() == {f"incoming__orders__{event_id}" for event_id in ids}


def test_replaying(house: House) -> None:
    """A dead event runs under its own id, a dispatched one as a copy."""
    house.launcher.errors["bad"] = DispatchFailed("no", retry=False)
    done, dead = house.accept('{"order": {"id": 1}}', '{"order": {"id": "bad"}}')
    house.dispatcher.drain()
    house.launcher.errors.clear()
    replayed = {replay.event_id: replay for replay in house.desk.replay([done, dead], by=Trusted("test"))}
    assert (replayed[done].action, replayed[dead].action) == ("copied", "requeued")
    house.dispatcher.drain()
    copy = replayed[done].new_id
    assert copy is not None
    assert (house.event(dead).state, house.event(copy).state) == ("dispatched", "dispatched")
    assert house.event(copy).replay_of == done
    assert len(house.runs()) == 3


def test_retention_counts_from_the_end(house: House) -> None:
    """What ended long ago goes, and expired claims; what waits, or ended lately, never does."""
    house.launcher.errors["bad"] = DispatchFailed("no", retry=False)
    done, dead = house.accept('{"order": {"id": 1}}', '{"order": {"id": "bad"}}')
    house.manager.suspend("orders", by=Trusted("test"))
    (held,) = house.accept('{"order": {"id": 2}}')
    house.manager.resume("orders", by=Trusted("test"))
    house.dispatcher.drain()
    house.manager.suspend("orders", by=Trusted("test"))
    (waiting,) = house.accept('{"order": {"id": 3}}')
    house.dispatcher.drain()
    house.clock.now += timedelta(days=8)
    assert house.housekeeping.purge() == 2 + 4
    assert exist(house, done, held, dead, waiting) == [False, False, True, True]
    house.launcher.errors.clear()
    house.desk.replay([dead], by=Trusted("test"))
    house.manager.resume("orders", by=Trusted("test"))
    house.dispatcher.drain()
    assert house.housekeeping.purge() == 0
    house.clock.now += timedelta(days=6)
    assert house.housekeeping.purge() == 0
    assert exist(house, dead, waiting) == [True, True]


def test_a_claim_is_kept_as_long_as_a_version_may_ask_for_it(house: House) -> None:
    """A window that was lengthened reaches back to what its claims were still there of; then they go."""
    short, long = {"parameters": ["body.n"], "window": "5s"}, {"parameters": ["body.n"], "window": "14d"}

    def publish(deduplication: dict[str, object] | None) -> None:
        declared = {"name": "orders", "state": "published", "dags": [], "deduplication": deduplication}
        house.manager.apply([parse_declaration(declared)], by=Trusted("test"))

    def claims() -> int:
        with reading(house.engine) as connection:
            return len(connection.execute(select(tables.dedup)).all())

    publish(short)
    house.accept("{}", "{}")  # under a window of a week
    house.clock.now += timedelta(days=8)
    publish(long)
    house.housekeeping.purge()
    assert claims() == 2
    house.clock.now += timedelta(days=5)
    house.housekeeping.purge()
    assert claims() == 2
    publish(None)
    house.clock.now += timedelta(days=2)
    house.housekeeping.purge()
    assert claims() == 0


def test_what_the_pages_remember_is_forgotten_in_time(house: House) -> None:
    """A listening an hour after its end, a refused request after a week, counts after 30 days."""
    listening = Listening(house.engine, clock=house.clock)
    tally = Tally(house.engine, lambda _: None, clock=house.clock, status_of=lambda _: 408)
    listening.start("orders", by=Trusted("test"), seconds=90)
    tally.refused("/x", BodyTimeout(), remote=None, size=0)
    tally.flush()
    hour = {
        "integration_id": house.integration_id,
        "hour": NOW,
        "accepted": 1,
        "duplicates": 0,
        "rejected": 0,
    }
    with transaction(house.engine) as connection:
        connection.execute(insert(tables.hourly).values(hour))
        # Its id says when it was written, which is long after the test's NOW.
        written_at = events.id_at(NOW)
        connection.execute(update(tables.request).values(id=written_at))
    deleted = []
    for age in (timedelta(minutes=61), timedelta(minutes=62), timedelta(6), timedelta(8), timedelta(days=31)):
        house.clock.now = NOW + age
        deleted.append(house.housekeeping.purge())
    assert deleted == [0, 1, 0, 1, 1]
    assert listening.look("orders") is None


def test_retries_count_from_the_first_failure(house: House) -> None:
    """An event that was held for a week has its whole day of retries."""
    house.manager.suspend("orders", by=Trusted("test"))
    (event_id,) = house.accept('{"order": {"id": "odd"}}')
    house.dispatcher.drain()
    house.clock.now += timedelta(days=7)
    house.manager.resume("orders", by=Trusted("test"))
    house.launcher.errors["odd"] = DispatchFailed("not yet", retry=True)
    house.dispatcher.drain()
    assert house.event(event_id).state == "failed"
    house.clock.now += timedelta(days=1)
    house.dispatcher.drain()
    assert house.event(event_id).state == "dead"
    house.desk.replay([event_id], by=Trusted("test"))
    house.dispatcher.drain()
    assert house.event(event_id).state == "failed"


def test_a_configuration_of_a_newer_release_stops_only_its_own_events(house: House) -> None:
    """It is tried again, since an upgrade may be under way."""
    (strange,) = house.accept('{"order": {"id": 1}}')
    with transaction(house.engine) as connection:
        connection.execute(update(tables.version).values(configuration={"from": "the future"}))
    declared = parse_declaration({"name": "other", "state": "published", "dags": ["process_order"]})
    other = house.manager.apply([declared], by=Trusted("test"))[0].integration
    house.integration_id, house.version_id = other.id, other.current.id
    (plain,) = house.accept('{"order": {"id": 1}}')
    house.dispatcher.dispatch_batch()
    assert [house.event(e).state for e in (strange, plain)] == ["failed", "dispatched"]


def test_unpublishing_is_not_resuming(house: House) -> None:
    """What a suspended integration holds stays held, until it is published again."""
    house.manager.suspend("orders", by=Trusted("test"))
    (event_id,) = house.accept('{"order": {"id": 1}}')
    house.dispatcher.drain()
    house.manager.unpublish("orders", by=Trusted("test"))
    house.housekeeping.release()
    assert house.dispatcher.drain().total == 0
    house.manager.publish("orders", by=Trusted("test"))
    assert house.dispatcher.drain().dispatched == 1
    assert house.event(event_id).state == "dispatched"


def exist(house: House, *event_ids: UUID) -> list[bool]:
    with reading(house.engine) as connection:
        return [events.read(connection, event_id) is not None for event_id in event_ids]


def test_the_loop_wakes_up_and_stops(house: House) -> None:
    """A woken loop dispatches long before its interval ends, and leaves no sign of life behind."""
    loop = DispatchLoop(house.dispatcher, house.housekeeping, interval=timedelta(seconds=30))
    loop.start()
    (event_id,) = house.accept('{"order": {"id": 7}}')
    loop.wake()
    done = threading.Event()
    for _ in range(100):
        if house.event(event_id).state == "dispatched":
            done.set()
            break
        done.wait(0.05)
    loop.stop()
    assert done.is_set()
    with reading(house.engine) as connection:
        from airflow_incoming.stores import dispatchers

        assert dispatchers.read_all(connection) == []


def test_the_loop_hears_the_bell(house: House, redis_server: RedisServer) -> None:
    """What another process accepts is dispatched at once, too."""
    loop = DispatchLoop(
        house.dispatcher,
        house.housekeeping,
        interval=timedelta(seconds=30),
        bell=Bell(connect(redis_server.url), prefix="loop"),
    )
    elsewhere = Bell(connect(redis_server.url), prefix="loop")
    elsewhere.start()
    client = connect(redis_server.url)
    loop.start()
    wait_until(lambda: client.pubsub_numsub("loop:wake") == [(b"loop:wake", 1)], seconds=10, what="the loop")
    (event_id,) = house.accept('{"order": {"id": 7}}')
    elsewhere.ring()
    wait_until(lambda: house.event(event_id).state == "dispatched", seconds=10, what="the event")
    loop.stop()
    elsewhere.stop()
    assert client.pubsub_numsub("loop:wake") == [(b"loop:wake", 0)]
    client.close()
