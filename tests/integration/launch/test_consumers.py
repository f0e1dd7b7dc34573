"""Each event of ours gets into one run of each DAG that its asset starts: Airflow's scheduler does it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from threading import Barrier, BrokenBarrierError
from typing import Any
from uuid import uuid4

import pytest
from airflow.assets.manager import AssetManager
from airflow.executors.base_executor import BaseExecutor
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.asset import AssetDagRunQueue, AssetEvent, AssetModel, DagScheduleAssetReference
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.team import Team, dag_bundle_team_association_table
from airflow.sdk import Asset
from airflow.serialization.definitions.assets import SerializedAssetUniqueKey
from sqlalchemy import Engine, delete, func, insert, select, text, update
from sqlalchemy.event import listen, remove
from sqlalchemy.orm import Session

from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event
from airflow_incoming.db import tables
from airflow_incoming.services.consumers import outlook
from airflow_incoming.services.consumers.discovery import discover, is_anything_new
from airflow_incoming.services.consumers.moments import next_moment
from airflow_incoming.services.consumers.requeueing import requeue
from airflow_incoming.services.consumers.sweep import Sweep
from airflow_incoming.services.consumers.undelivered import undelivered_to
from airflow_incoming.services.launch import AirflowLauncher
from airflow_incoming.services.target_findings import asset_events
from airflow_incoming.stores import unconsumed
from tests.integration.launch.samples import dag
from tests.integration.launch.workbench import BUNDLE, Workbench, make_event, pending

DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(timezone.utc)


class Stage:
    """Some DAGs and assets of a test's own, what happens to them, and a scheduler's look."""

    def __init__(self, bench: Workbench, launcher: AirflowLauncher) -> None:
        self.bench = bench
        self.launcher = launcher
        self.name = f"a{uuid4().hex[:12]}"
        self.sweeper = Sweep(bench.engine, clock=now)

    def asset(self, letter: str = "a") -> Asset:
        return Asset(f"{self.name}_{letter}")

    def deploy(self, letter: str = "", **options: Any) -> str:
        """Deploy a DAG that the asset starts, or what ``schedule`` says, and return its id."""
        dag_id = f"on_{self.name}{letter}"
        self.bench.deploy(dag(dag_id, **{"schedule": [self.asset()], **options}))
        self.pause(dag_id, paused=False)
        return dag_id

    def pause(self, dag_id: str, *, paused: bool) -> None:
        with self.bench.session() as session:
            session.execute(update(DagModel).where(DagModel.dag_id == dag_id).values(is_paused=paused))

    def dispatch(self, *letters: str, count: int = 1) -> list[str]:
        """Dispatch events to assets, each in a transaction of its own, and return their ids."""
        configuration = Configuration(assets=tuple(f"{self.name}_{letter}" for letter in letters or ("a",)))
        events = [make_event() for _ in range(count)]
        for event in events:
            with self.bench.session() as session:
                one = pending(event, configuration, conf(event))
                self.launcher.prepare(session, [one])
                with session.begin_nested():
                    self.launcher.launch(session, one)
                self.launcher.ask_for_runs(session)
        return [str(event.id) for event in events]

    def watch(self, letter: str = "a", *, ago: timedelta = timedelta(0)) -> str:
        """Register an event as a triggerer does for a watcher, and return its id."""
        event = make_event()
        self.register(letter, {"from_trigger": True, "payload": conf(event)}, ago=ago)
        return str(event.id)

    def register(self, letter: str, extra: Mapping[str, Any], *, ago: timedelta = timedelta(0)) -> int:
        key = SerializedAssetUniqueKey(name=f"{self.name}_{letter}", uri=f"{self.name}_{letter}")
        with self.bench.session() as session:
            made = AssetManager().register_asset_change(asset=key, extra=dict(extra), session=session)
            assert made is not None
            if ago:
                made.timestamp -= ago
            return int(made.id)

    def store(self, event: Event, started: list[dict[str, str]]) -> None:
        """Store an event as a dispatcher leaves it."""
        with self.bench.session() as session:
            session.execute(
                insert(tables.event).values(
                    id=event.id,
                    integration_id=event.integration_id,
                    integration=event.integration,
                    version_id=event.version_id,
                    state="dispatched",
                    received_at=event.received_at,
                    attempts=1,
                    body=event.body,
                    headers={},
                    query="",
                    started=started,
                )
            )

    def schedule(self) -> None:
        """Let Airflow's scheduler make the runs that are asked for."""
        runner = SchedulerJobRunner(job=Job(), executors=[BaseExecutor()])
        with Session(self.bench.engine) as session, session.begin():
            query, triggered = DagModel.dags_needing_dagruns(session)
            asked = [each for each in query.all() if each.dag_id in triggered]
            runner._create_dag_runs_asset_triggered(dag_models=asked, session=session)

    def sweep(self) -> None:
        while self.sweeper.sweep():
            pass

    def runs(self, dag_id: str) -> list[list[str]]:
        """Return the events of each run of a DAG, in the order in which tasks are given them."""
        with self.bench.session() as session:
            runs = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id))
            return [sorted(event_of(each) for each in run.consumed_asset_events) for run in runs]

    def startable(self, dag_id: str) -> list[bool]:
        """Return whether a scheduler may start each run of a DAG now."""
        with self.bench.session() as session:
            runs = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id))
            return [run.run_after <= now() for run in runs]

    def queued(self, dag_id: str) -> list[str]:
        """Return the assets that ask for a run of a DAG, by the last letters of their names."""
        query = (
            select(AssetModel.name)
            .join(AssetDagRunQueue, AssetDagRunQueue.asset_id == AssetModel.id)
            .where(AssetDagRunQueue.target_dag_id == dag_id)
            .order_by(AssetModel.name)
        )
        with self.bench.session() as session:
            return [name.rpartition("_")[2] for name in session.scalars(query)]

    def waiting(self, dag_id: str) -> int:
        with self.bench.session() as session:
            query = select(func.count()).where(tables.unconsumed.c.dag_id == dag_id)
            return int(session.scalar(query) or 0)


def conf(event: Event) -> dict[str, Any]:
    return {"order.id": 7, "_incoming.event_id": str(event.id), "_incoming.integration": "orders"}


def event_of(asset_event: AssetEvent) -> str:
    carried = asset_event.extra.get("payload", asset_event.extra)
    return str(carried.get("_incoming.event_id", "somebody else's"))


@pytest.fixture
def stage(bench: Workbench, launcher: AirflowLauncher) -> Iterator[Stage]:
    stage = Stage(bench, launcher)
    stage.sweep()
    yield stage
    with bench.session() as session:
        session.execute(delete(AssetDagRunQueue))
        session.execute(delete(tables.unconsumed))


def test_events_of_several_transactions_are_in_one_run(stage: Stage) -> None:
    """Without any sweep: the queue has the time of the newest."""
    dag_id = stage.deploy()
    sent = stage.dispatch(count=5)
    stage.schedule()
    assert stage.runs(dag_id) == [sent]
    later = stage.dispatch(count=2)
    stage.schedule()
    assert stage.runs(dag_id) == [sent, later]


def test_what_watchers_leave_behind(stage: Stage) -> None:
    """Airflow's own queue keeps the time of the first: the others are asked for until a run has them."""
    dag_id = stage.deploy()
    sent = [stage.watch() for _ in range(5)]
    stage.schedule()
    assert stage.runs(dag_id) == [sent[:1]]
    stage.sweep()
    assert stage.queued(dag_id) == ["a"]
    stage.schedule()
    assert stage.runs(dag_id) == [sent[:1], sent[1:]]
    stage.sweep()
    assert (stage.queued(dag_id), stage.waiting(dag_id)) == ([], 0)


def test_a_paused_dag(stage: Stage) -> None:
    """It is asked for nothing while it is paused, and then for all that came meanwhile."""
    dag_id = stage.deploy()
    stage.pause(dag_id, paused=True)
    sent = [*stage.dispatch(count=2), stage.watch()]
    stage.sweep()
    stage.schedule()
    assert (stage.runs(dag_id), stage.queued(dag_id), stage.waiting(dag_id)) == ([], [], 3)
    stage.pause(dag_id, paused=False)
    stage.sweep()
    stage.schedule()
    assert stage.runs(dag_id) == [sent]


def test_a_long_backlog(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came for a paused DAG isn't all given to one run."""
    monkeypatch.setattr("airflow_incoming.services.consumers.undelivered.LOOKED_AT", 3)
    dag_id = stage.deploy()
    stage.pause(dag_id, paused=True)
    sent = [stage.watch() for _ in range(7)]
    stage.sweep()
    stage.pause(dag_id, paused=False)
    for _ in range(3):
        stage.sweep()
        stage.schedule()
    assert stage.runs(dag_id) == [sent[:3], sent[3:6], sent[6:]]
    stage.sweep()
    assert (stage.queued(dag_id), stage.waiting(dag_id)) == ([], 0)


def test_a_long_backlog_of_one_of_two_assets(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It doesn't hide the event of the other asset that the condition waits for."""
    monkeypatch.setattr("airflow_incoming.services.consumers.undelivered.LOOKED_AT", 3)
    dag_id = stage.deploy(schedule=stage.asset("a") & stage.asset("b"))
    stage.pause(dag_id, paused=True)
    sent = [*(stage.watch("a") for _ in range(4)), stage.watch("b")]
    stage.sweep()
    stage.pause(dag_id, paused=False)
    for _ in range(3):
        stage.sweep()
        stage.schedule()
    assert (stage.runs(dag_id), stage.waiting(dag_id)) == ([sent], 0)


def test_a_dag_that_is_deleted_and_parsed_again(stage: Stage) -> None:
    """What came before it was scheduled anew isn't for it, though nobody has forgotten that yet."""
    dag_id = stage.deploy()
    stage.pause(dag_id, paused=True)
    stage.dispatch()
    stage.sweep()
    with stage.bench.session() as session:
        session.execute(delete(DagModel).where(DagModel.dag_id == dag_id))
    stage.deploy()
    stage.sweep()
    stage.schedule()
    assert (stage.runs(dag_id), stage.queued(dag_id), stage.waiting(dag_id)) == ([], [], 0)


def test_one_run_at_a_time(stage: Stage) -> None:
    """What comes while a run is at work is in the next one."""
    dag_id = stage.deploy(max_active_runs=1)
    first = stage.dispatch()
    stage.schedule()
    second = [*stage.dispatch(count=3), *(stage.watch() for _ in range(3))]
    for _ in range(2):
        stage.sweep()
        stage.schedule()
    assert stage.runs(dag_id) == [first]
    with stage.bench.session() as session:
        session.execute(update(DagRun).where(DagRun.dag_id == dag_id).values(state="success"))
    stage.schedule()
    assert stage.runs(dag_id) == [first, second]


def test_a_condition_of_two_assets(stage: Stage) -> None:
    """What is left of one asset is asked for, and waits for the other asset, as always in Airflow."""
    dag_id = stage.deploy(schedule=stage.asset("a") & stage.asset("b"))
    one, other = stage.watch("a"), stage.watch("b")
    left = [stage.watch("a") for _ in range(2)]
    stage.schedule()
    assert stage.runs(dag_id) == [[one, other]]
    for _ in range(2):
        stage.sweep()
        stage.schedule()
    assert (stage.runs(dag_id), stage.queued(dag_id)) == ([[one, other]], ["a"])
    with stage.bench.session() as session:
        why, blocked = outlook.reason(session.connection(), dag_id)
    assert (why.endswith(f"haven't come: {stage.name}_b"), blocked) == (True, True)
    last = stage.watch("b")
    stage.sweep()
    stage.schedule()
    assert stage.runs(dag_id) == [[one, other], [*left, last]]


def test_an_event_that_came_too_late(stage: Stage) -> None:
    """A transaction that took its time, or a clock that is behind: it gets a run, and others none twice."""
    dag_id, other = stage.deploy(), stage.deploy("_too")
    early = stage.watch()
    stage.schedule()
    late = stage.watch(ago=timedelta(minutes=5))
    with stage.bench.session() as session:
        session.execute(delete(AssetDagRunQueue))
        since = now() - timedelta(hours=1)
        session.execute(
            update(DagScheduleAssetReference)
            .where(DagScheduleAssetReference.dag_id.in_((dag_id, other)))
            .values(created_at=since)
        )
    stage.sweep()
    assert stage.runs(dag_id) == stage.runs(other) == [[early], [late]]
    next_ = stage.dispatch(count=2)
    for _ in range(2):
        stage.schedule()
        stage.sweep()
    assert stage.runs(dag_id) == stage.runs(other) == [[early], [late], next_]


def test_an_event_that_came_too_late_for_a_condition(stage: Stage) -> None:
    """It alone starts nothing; it is in the next run that the condition allows."""
    dag_id = stage.deploy(schedule=stage.asset("a") & stage.asset("b"))
    first = [stage.watch("a"), stage.watch("b")]
    stage.schedule()
    with stage.bench.session() as session:
        session.execute(
            update(DagScheduleAssetReference)
            .where(DagScheduleAssetReference.dag_id == dag_id)
            .values(created_at=now() - timedelta(hours=1))
        )
    late = stage.watch("a", ago=timedelta(minutes=5))
    stage.sweep()
    stage.schedule()
    assert (stage.runs(dag_id), stage.queued(dag_id)) == ([first], ["a"])
    last = stage.watch("b")
    stage.sweep()
    stage.schedule()
    assert [sorted(each) for each in stage.runs(dag_id)] == [sorted(first), sorted([late, last])]


def test_a_dag_of_which_no_run_can_be_made(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once, not at each look, and the run is made when it can be."""
    dag_id = stage.deploy()
    first = stage.dispatch()
    stage.schedule()
    with stage.bench.session() as session:
        session.execute(update(DagRun).where(DagRun.dag_id == dag_id).values(run_after=now() + DAY))
    second = stage.dispatch()
    with monkeypatch.context() as broken:
        broken.delattr("airflow.serialization.definitions.dag.SerializedDAG.create_dagrun")
        for _ in range(3):
            stage.sweep()
    assert caplog.text.count(f"No run of DAG {dag_id} could be made") == 1
    monkeypatch.setattr("airflow_incoming.services.consumers.runs.RETRY", 0)
    stage.sweep()
    assert stage.runs(dag_id) == [first, second]


def test_clocks_that_differ(stage: Stage) -> None:
    """A run of the future, made by a host whose clock is ahead, hides nothing that comes after it.

    And later runs start all the same: none has a time that is still to come.
    """
    dag_id = stage.deploy()
    first = stage.dispatch()
    stage.schedule()
    with stage.bench.session() as session:
        session.execute(update(DagRun).where(DagRun.dag_id == dag_id).values(run_after=now() + DAY))
    second = stage.dispatch(count=2)
    stage.schedule()
    stage.sweep()
    third = stage.dispatch()
    for _ in range(2):
        stage.schedule()
        stage.sweep()
    assert stage.runs(dag_id) == [first, second, third]
    assert stage.startable(dag_id) == [False, True, True]
    assert (stage.queued(dag_id), stage.waiting(dag_id)) == ([], 0)


def test_clocks_that_differ_a_little(stage: Stage) -> None:
    """Some seconds are caught up with: a scheduler makes the run, and it starts when they are over."""
    dag_id = stage.deploy()
    first = stage.dispatch()
    stage.schedule()
    soon = now() + timedelta(seconds=20)
    with stage.bench.session() as session:
        session.execute(update(DagRun).where(DagRun.dag_id == dag_id).values(run_after=soon))
    second = stage.dispatch(count=2)
    stage.schedule()
    assert stage.runs(dag_id) == [first, second]


def test_an_entry_of_the_future(stage: Stage) -> None:
    """A clock that is ahead has asked for a run: it is made with what came, and starts."""
    dag_id = stage.deploy(schedule=stage.asset("a") & stage.asset("b"))
    stage.register("b", {"somebody": "else"})
    with stage.bench.session() as session:
        session.execute(update(AssetDagRunQueue).values(created_at=now() + DAY))
    sent = stage.dispatch(count=2)
    stage.sweep()
    stage.schedule()
    assert stage.runs(dag_id) == [sorted([*sent, "somebody else's"])]
    assert (stage.startable(dag_id), stage.queued(dag_id), stage.waiting(dag_id)) == ([True], [], 0)


def test_a_run_that_is_deleted(stage: Stage) -> None:
    """Nobody who deletes a run gets it again."""
    dag_id = stage.deploy()
    stage.dispatch(count=2)
    stage.schedule()
    stage.sweep()
    with stage.bench.session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id == dag_id))
    for _ in range(2):
        stage.sweep()
        stage.schedule()
    assert (stage.runs(dag_id), stage.queued(dag_id), stage.waiting(dag_id)) == ([], [], 0)


def test_a_run_that_is_deleted_while_its_dag_is_paused(stage: Stage) -> None:
    """A sweep has seen what the run had, though it was none of the DAGs that are asked for."""
    dag_id = stage.deploy()
    sent = stage.dispatch(count=2)
    stage.sweep()
    stage.schedule()
    assert (stage.runs(dag_id), stage.waiting(dag_id)) == ([sent], 2)
    stage.pause(dag_id, paused=True)
    stage.sweep()
    assert stage.waiting(dag_id) == 0
    with stage.bench.session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id == dag_id))
    stage.pause(dag_id, paused=False)
    for _ in range(2):
        stage.sweep()
        stage.schedule()
    assert stage.runs(dag_id) == []


@pytest.mark.parametrize("route", ["delete_dag_run", "bulk_dag_runs", "bulk_dag_runs of any DAG"])
def test_a_run_that_is_deleted_before_anybody_looks(stage: Stage, route: str) -> None:
    """The audit log says up to when it had events; what has come later is asked for all the same."""
    dag_id = stage.deploy()
    stage.dispatch(count=2)
    stage.sweep()
    stage.schedule()
    with stage.bench.session() as session:
        (run_id,) = session.scalars(select(DagRun.run_id).where(DagRun.dag_id == dag_id))
        session.execute(delete(DagRun).where(DagRun.dag_id == dag_id))
        entity = {"dag_run_id": run_id, "dag_id": dag_id} if route.endswith("any DAG") else run_id
        bulk = {"actions": [{"action": "delete", "entities": [entity]}]}
        one = route == "delete_dag_run"
        log = Log(event=route.split()[0], run_id=run_id if one else None, extra=json.dumps(bulk))
        log.dag_id = "~" if route.endswith("any DAG") else dag_id
        session.add(log)
    stage.pause(dag_id, paused=True)
    later = stage.watch()
    stage.sweep()
    with stage.bench.session() as session:
        session.execute(update(DagScheduleAssetReference).values(created_at=now() - DAY))
    stage.pause(dag_id, paused=False)
    stage.sweep()
    assert (stage.queued(dag_id), stage.waiting(dag_id)) == (["a"], 1)
    with stage.bench.session() as session:
        kept = session.scalar(
            select(tables.unconsumed.c.event_id).where(tables.unconsumed.c.dag_id == dag_id)
        )
    assert str(kept) == later


def test_runs_that_are_cleaned_away(stage: Stage) -> None:
    """The first look asks for nothing that came long before the oldest run that is kept."""
    dag_id = stage.deploy()
    stage.watch(ago=3 * DAY)
    with stage.bench.session() as session:
        session.execute(update(DagScheduleAssetReference).values(created_at=now() - 30 * DAY))
        session.execute(delete(AssetDagRunQueue))
    stage.register("a", {})
    stage.schedule()
    with stage.bench.session() as session:
        session.execute(text("delete from dagrun_asset_event"))
        session.execute(delete(tables.asset_event_mark))
    stage.sweep()
    assert (len(stage.runs(dag_id)), stage.waiting(dag_id), stage.queued(dag_id)) == (1, 0, [])


def test_a_dag_that_began_later(stage: Stage) -> None:
    """An asset's older events are not for it."""
    first = stage.deploy()
    sent = stage.dispatch()
    second = stage.deploy("_too")
    stage.sweep()
    stage.schedule()
    stage.sweep()
    assert (stage.runs(first), stage.runs(second), stage.queued(second)) == ([sent], [], [])


def test_a_dag_that_is_scheduled_otherwise_now(stage: Stage) -> None:
    """What it waited for is forgotten; so it is where the DAG or the asset event is gone."""
    changed, deleted, cleaned = (stage.deploy(letter) for letter in ("_1", "_2", "_3"))
    for dag_id in (changed, deleted, cleaned):
        stage.pause(dag_id, paused=True)
    stage.dispatch()
    stage.sweep()
    assert [stage.waiting(dag_id) for dag_id in (changed, deleted, cleaned)] == [1, 1, 1]
    stage.deploy("_1", schedule=[stage.asset("b")])
    with stage.bench.session() as session:
        session.execute(delete(DagModel).where(DagModel.dag_id == deleted))
    stage.sweep()
    stage.sweeper.purge()
    assert [stage.waiting(dag_id) for dag_id in (changed, deleted, cleaned)] == [0, 0, 1]
    with stage.bench.session() as session:
        session.execute(delete(AssetEvent))
    stage.pause(cleaned, paused=False)
    stage.sweep()
    assert (stage.waiting(cleaned), stage.runs(changed), stage.runs(cleaned)) == (0, [], [])


@pytest.mark.parametrize("spoilt", ["is_stale", "has_import_errors"])
def test_a_dag_that_is_spoilt(stage: Stage, spoilt: str) -> None:
    """It gets what came for it when it is there again."""
    dag_id = stage.deploy()
    sent = [stage.watch() for _ in range(2)]
    with stage.bench.session() as session:
        session.execute(update(DagModel).where(DagModel.dag_id == dag_id).values({spoilt: True}))
        session.execute(delete(AssetDagRunQueue))
    stage.sweep()
    assert (stage.queued(dag_id), stage.waiting(dag_id)) == ([], 2)
    with stage.bench.session() as session:
        session.execute(update(DagModel).where(DagModel.dag_id == dag_id).values({spoilt: False}))
    stage.sweep()
    stage.schedule()
    assert stage.runs(dag_id) == [sent]


def test_what_is_not_ours(stage: Stage) -> None:
    """Asset events of others are left as Airflow treats them."""
    dag_id = stage.deploy()
    extras = ({}, {"a": '"_incoming.event_id": "01890000-0000-7000-8000-000000000001"'}, {"x": "\\u0000"})
    for extra in extras:
        stage.register("a", extra)
    with stage.bench.session() as session:
        session.execute(delete(AssetDagRunQueue))
    stage.sweep()
    assert (stage.queued(dag_id), stage.waiting(dag_id)) == ([], 0)


def test_what_users_of_the_api_make_up(stage: Stage) -> None:
    """It is taken for no watcher's, and for a dispatcher's only where our event says so."""
    dag_id = stage.deploy()
    mine, theirs = make_event(), make_event()
    for event, started in ((mine, [{"asset": f"{stage.name}_a"}]), (theirs, [{"asset": "another"}])):
        stage.store(event, started)
        stage.register("a", {**conf(event), "from_rest_api": True})
    stage.register("a", {"from_rest_api": True, "payload": conf(mine)})
    stage.register("a", {**conf(make_event()), "from_rest_api": True})
    with stage.bench.session() as session:
        session.execute(delete(AssetDagRunQueue))
    stage.sweep()
    with stage.bench.session() as session:
        noted = session.scalars(
            select(tables.unconsumed.c.event_id).where(tables.unconsumed.c.dag_id == dag_id)
        ).all()
    assert noted == [mine.id]


def test_what_nobody_has_looked_at(stage: Stage) -> None:
    """The check says so, as a warning when that takes longer than a minute."""
    dag_id = stage.deploy()

    def check(later: timedelta = timedelta(0)) -> list[tuple[str, str]]:
        found = asset_events(stage.bench.engine, now() + later)
        return [(one.level, one.detail) for one in found]

    assert check() == [("ok", "Every asset event that came is in a run.")]
    stage.dispatch(count=2)
    ((level, text),) = check()
    assert (level, text[:53]) == ("ok", "Asset events that no dispatcher has looked at yet: 2,")
    assert [level for level, _ in check(timedelta(minutes=2))] == ["warning"]
    stage.schedule()
    stage.sweep()
    assert check(timedelta(minutes=2)) == [("ok", "Every asset event that came is in a run.")]
    assert stage.waiting(dag_id) == 0


@pytest.mark.parametrize("allowed", [True, False])
def test_a_dag_of_a_team(stage: Stage, monkeypatch: pytest.MonkeyPatch, *, allowed: bool) -> None:
    """As Airflow queues them: a sender reaches no team's DAGs, a watcher those that let all events in."""
    dag_id = stage.deploy()
    team, bundle = stage.name, {"dag_bundle_name": BUNDLE, "team_name": stage.name}
    with stage.bench.session() as session:
        session.add(Team(name=team))
        session.flush()
        session.execute(insert(dag_bundle_team_association_table).values(bundle))
        session.execute(
            update(DagScheduleAssetReference)
            .where(DagScheduleAssetReference.dag_id == dag_id)
            .values(allow_global_producers=allowed)
        )
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    try:
        stage.dispatch(count=2)
        for _ in range(2):
            stage.watch()
        with stage.bench.session() as session:
            session.execute(delete(AssetDagRunQueue))
        stage.sweep()
        assert (stage.waiting(dag_id), stage.queued(dag_id)) == ((2, ["a"]) if allowed else (0, []))
    finally:
        with stage.bench.session() as session:
            session.execute(delete(dag_bundle_team_association_table))
            session.execute(delete(Team).where(Team.name == team))


def test_an_id_that_comes_late(stage: Stage) -> None:
    """Transactions don't commit in the order of their ids."""
    dag_id = stage.deploy()
    first = stage.watch()
    with stage.bench.session() as session:
        row = session.scalars(select(AssetEvent).order_by(AssetEvent.id.desc()).limit(1)).one()
        kept = {name: getattr(row, name) for name in ("id", "asset_id", "extra", "timestamp")}
        session.execute(delete(AssetEvent).where(AssetEvent.id == row.id))
        session.execute(delete(AssetDagRunQueue))
    second = stage.watch()
    stage.sweep()
    assert stage.waiting(dag_id) == 1
    with stage.bench.session() as session:
        session.add(AssetEvent(**kept))
    stage.sweep()
    assert stage.waiting(dag_id) == 2
    stage.schedule()
    assert stage.runs(dag_id) == [[first, second]]
    with stage.bench.session() as session:
        mark = unconsumed.read_mark(session.connection())
    assert mark is not None
    assert kept["id"] not in mark.missing


def test_the_first_look(stage: Stage) -> None:
    """What was stranded in the last days is asked for, and not what somebody has deleted.

    What is older isn't asked for, but Airflow gives a DAG's first run all since it was scheduled.
    """
    dag_id, deleted = stage.deploy(), stage.deploy("_too")
    with stage.bench.session() as session:
        session.execute(delete(AssetEvent))
        session.execute(update(DagScheduleAssetReference).values(created_at=now() - 30 * DAY))
    older = [stage.watch(ago=days * DAY) for days in (9, 8)]
    stranded = [stage.watch(ago=hours * timedelta(hours=1)) for hours in (40, 30)]
    with stage.bench.session() as session:
        session.execute(delete(AssetDagRunQueue))
        session.execute(delete(tables.asset_event_mark))
        log = Log(event="delete_dag_run")
        log.dag_id, log.dttm = deleted, now() - DAY
        session.add(log)
    stage.sweep()
    stage.schedule()
    assert stage.runs(dag_id) == [[*older, *stranded]]
    assert (stage.runs(deleted), stage.waiting(deleted)) == ([], 0)


def test_a_scheduler_at_work_is_not_waited_for(stage: Stage) -> None:
    """While somebody else has locked the DAG nothing is asked for, and the next sweep does it."""
    if stage.bench.engine.dialect.name == "sqlite":
        pytest.skip("SQLite locks all or nothing")
    dag_id = stage.deploy()
    sent = [stage.watch() for _ in range(2)]
    stage.schedule()
    with stage.bench.session() as scheduler:
        scheduler.execute(
            select(DagModel.dag_id).where(DagModel.dag_id == dag_id).with_for_update(key_share=True)
        )
        stage.sweep()
        assert stage.queued(dag_id) == []
        assert stage.dispatch()  # goes on after a moment
    stage.sweep()
    stage.schedule()
    stage.sweep()
    stage.schedule()
    assert sorted(event for run in stage.runs(dag_id) for event in run)[:2] == sorted(sent)
    assert Counter(event for run in stage.runs(dag_id) for event in run).most_common(1)[0][1] == 1


def test_an_entry_that_a_scheduler_has_taken_is_not_waited_for(stage: Stage) -> None:
    """It may be at it for long; a batch goes on, and nothing is missed."""
    if stage.bench.engine.dialect.name == "sqlite":
        pytest.skip("SQLite locks all or nothing")
    dag_id = stage.deploy()
    first = stage.dispatch()
    with stage.bench.session() as scheduler, ThreadPoolExecutor() as pool:
        row = select(DagModel.dag_id).where(DagModel.dag_id == dag_id)
        scheduler.execute(row.with_for_update(key_share=True))
        entry = select(AssetDagRunQueue.asset_id).where(AssetDagRunQueue.target_dag_id == dag_id)
        scheduler.execute(entry.with_for_update())
        dispatched = pool.submit(stage.dispatch)
        try:
            second = dispatched.result(timeout=2)
        finally:
            scheduler.rollback()
    for _ in range(2):
        stage.sweep()
        stage.schedule()
    assert sorted(event for run in stage.runs(dag_id) for event in run) == sorted([*first, *second])


def test_two_dispatchers_at_once(stage: Stage) -> None:
    """The scheduler looks between two commits: whoever comes second is in the second run."""
    if stage.bench.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    dag_id = stage.deploy(schedule=stage.asset("a") | stage.asset("b"))
    slow, event = AirflowLauncher(), make_event()
    one = pending(event, Configuration(assets=(f"{stage.name}_a",)), conf(event))
    with stage.bench.session() as session:
        slow.prepare(session, [one])
        slow.launch(session, one)
        first = stage.dispatch("b")
        stage.schedule()
        slow.ask_for_runs(session)
    stage.schedule()
    stage.sweep()
    stage.schedule()
    assert stage.runs(dag_id) == [first, [str(event.id)]]


def test_a_scheduler_that_takes_the_entry_meanwhile(stage: Stage) -> None:
    """Between the asset event and the commit: a run is asked for again, before any sweep."""
    if stage.bench.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    dag_id = stage.deploy()
    paused = stage.deploy("_too")
    stage.pause(paused, paused=True)
    first, event = stage.dispatch(), make_event()
    one = pending(event, Configuration(assets=(f"{stage.name}_a",)), conf(event))
    with stage.bench.session() as session:
        stage.launcher.prepare(session, [one])
        stage.launcher.launch(session, one)
        stage.schedule()
        stage.launcher.ask_for_runs(session)
    assert (stage.runs(dag_id), stage.queued(dag_id), stage.queued(paused)) == ([first], ["a"], [])
    stage.schedule()
    assert stage.runs(dag_id) == [first, [str(event.id)]]


def test_two_dispatchers_that_cross(stage: Stage) -> None:
    """One has events of (a, z) and of b, the other of b and of z: neither is ended by the database."""
    if stage.bench.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    dag_id = stage.deploy(schedule=stage.asset("a") | stage.asset("b") | stage.asset("z"))
    meeting = Barrier(2)

    def dispatch(*targets: tuple[str, ...]) -> list[str]:
        launcher, events = AirflowLauncher(), [make_event() for _ in targets]
        configurations = [Configuration(assets=tuple(f"{stage.name}_{x}" for x in each)) for each in targets]
        with stage.bench.session() as session:
            launcher.reserve(session, {asset for each in configurations for asset in each.assets})
            for event, configuration in zip(events, configurations, strict=True):
                launcher.launch(session, pending(event, configuration, conf(event)))
                with suppress(BrokenBarrierError):  # the other one waits
                    meeting.wait(timeout=1)
            launcher.ask_for_runs(session)
        return [str(event.id) for event in events]

    with ThreadPoolExecutor() as pool:
        both = [pool.submit(dispatch, ("a", "z"), ("b",)), pool.submit(dispatch, ("b",), ("z",))]
        sent = [event for one in both for event in one.result()]
    stage.sweep()
    stage.schedule()
    assert sorted({event for run in stage.runs(dag_id) for event in run}) == sorted(sent)


def test_more_dags_than_one_look_asks_after(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its turn."""
    monkeypatch.setattr("airflow_incoming.services.consumers.sweep.DAGS", 2)
    dag_ids = [stage.deploy(f"_{number}") for number in range(5)]
    sent = [stage.watch() for _ in range(2)]
    stage.schedule()
    stage.sweep()
    stage.schedule()
    assert [stage.runs(dag_id) for dag_id in dag_ids] == [[sent[:1], sent[1:]]] * 5


def test_a_sweep_costs_next_to_nothing(stage: Stage) -> None:
    """Where nothing is new: three reads."""
    stage.deploy()
    with stage.bench.session() as session:
        session.execute(update(tables.asset_event_mark).values(missing={}))
    with stage.bench.statements() as seen:
        stage.sweep()
    assert [each.split()[0] for each in seen if not each.startswith("BEGIN")] == ["SELECT"] * 3
    assert not stage.sweeper.is_lively


def test_a_million_asset_events(stage: Stage) -> None:
    """No look goes through all of them."""
    if stage.bench.engine.dialect.name == "sqlite":
        pytest.skip("what is planned is asked of PostgreSQL")
    dag_id = stage.deploy()
    session = Session(stage.bench.engine, autoflush=False)
    try:
        session.execute(
            text(
                "insert into asset_event (asset_id, extra, timestamp, source_map_index)"
                " select (select id from asset where name = :name), '{}', now() - n * interval '1 second', -1"
                " from generate_series(1, 1000000) n"
            ),
            {"name": f"{stage.name}_a"},
        )
        mark = session.scalar(select(func.max(AssetEvent.id)))
        session.execute(update(tables.asset_event_mark).values(seen=mark, missing={}))
        key = SerializedAssetUniqueKey(name=f"{stage.name}_a", uri=f"{stage.name}_a")
        for _ in range(20):
            extra = {"from_trigger": True, "payload": conf(make_event())}
            AssetManager().register_asset_change(asset=key, extra=extra, session=session)
        session.flush()
        _run_by_hand(session, dag_id, times=150_000)
        session.execute(text("analyze asset_event, dag_run"))
        with _asked(stage.bench.engine) as asked:
            assert is_anything_new(session.connection())
            assert not discover(session, now())
            assert len(undelivered_to(session.connection(), dag_id).stranded) == 19
            assert next_moment(session.connection(), [dag_id], now()) <= now() + timedelta(seconds=1)
            assert not requeue(session, dag_id, now())
            assert undelivered_to(session.connection(), dag_id).stranded == []
            event_id, asset_id = session.execute(
                select(tables.unconsumed.c.event_id, AssetEvent.asset_id)
                .join(AssetEvent, AssetEvent.id == tables.unconsumed.c.asset_event_id)
                .where(tables.unconsumed.c.dag_id == dag_id)
                .limit(1)
            ).one()
            (found,) = outlook.consumption(
                session.connection(), event_id, {asset_id: "a"}, now() - timedelta(minutes=1)
            )
            assert found.reason == "the scheduler makes a run in a moment"
        assert 10 < len(asked) < 50
        for statement, parameters in asked:
            plan = session.connection().exec_driver_sql(
                f"explain (analyze, buffers, format json) {statement}", parameters
            )
            (top,) = plan.scalar_one()
            blocks = top["Plan"]["Shared Hit Blocks"] + top["Plan"]["Shared Read Blocks"]
            assert blocks < 1000, f"{blocks} of the table's 10000 blocks are read by {statement}"
    finally:
        session.rollback()
        session.close()


def _run_by_hand(session: Session, dag_id: str, *, times: int) -> None:
    session.execute(
        text(
            "insert into dag_run (dag_id, run_id, run_type, run_after, state, clear_number, log_template_id)"
            " select :dag, 'manual__' || n, 'manual', now() - interval '1 second' - n * interval '1 ms',"
            " 'success', 0, (select max(id) from log_template) from generate_series(1, :times) n"
        ),
        {"dag": dag_id, "times": times},
    )


@contextmanager
def _asked(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """Collect the questions that reach the database, with their parameters."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith("SELECT") and "set_config" not in statement:
            asked.append((statement, parameters))

    listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        remove(engine, "before_cursor_execute", note)
