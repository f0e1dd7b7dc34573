"""An event becomes DAG runs like those that Airflow's own API makes."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import func, select, update

from airflow_incoming.core.errors import AlreadyLaunched, DispatchFailed
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event, Started
from airflow_incoming.services.launch import AirflowLauncher, run_id_of
from tests.integration.launch.samples import dag
from tests.integration.launch.workbench import Workbench, make_event, pending

RECEIVED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)


def test_a_run_says_who_started_it_and_when(bench: Workbench, launcher: AirflowLauncher) -> None:
    """The run is manual, queued, without a logical date, and named after integration and event."""
    event = make_event("shop-orders", RECEIVED)
    started = bench.launch(launcher, event, dags=("one_task",))
    run_id = f"incoming__shop-orders__{event.id}"
    assert started == (Started(dag_id="one_task", run_id=run_id),)
    [run] = bench.runs(event)
    assert (run.dag_id, run.run_id, run.state) == ("one_task", run_id, DagRunState.QUEUED)
    assert (run.run_type, run.triggered_by) == (DagRunType.MANUAL, DagRunTriggeredByType.REST_API)
    assert run.triggering_user_name == "incoming:shop-orders"
    assert run.run_after == RECEIVED
    assert run.queued_at is not None
    assert (run.logical_date, run.data_interval_start, run.data_interval_end) == (None, None, None)
    assert run.created_dag_version_id is not None
    assert run.log_template_id
    assert run.start_date is None


def test_conf_arrives_exactly(bench: Workbench, launcher: AirflowLauncher) -> None:
    """Large integers, unicode, dots in names, empty and null values come out as they went in."""
    conf = {
        "order.id": 2**64 + 1,
        "small": -(2**53) - 1,
        "price": 1.0,
        "naïve \U0001f600": "žluťoučký",
        "a\\.b.0": None,
        "empty": {},
        "list": [],
        "no": False,
        "zero": 0,
        "text": "",
    }
    event = make_event()
    bench.launch(launcher, event, conf, dags=("one_task",))
    [run] = bench.runs(event)
    assert run.conf == conf
    assert isinstance(run.conf["price"], float)
    assert run.conf["no"] is False


@pytest.mark.parametrize(
    ("dag_id", "tasks"),
    [
        ("one_task", [("only", -1, None)]),
        ("ten_tasks", [(f"task_{number}", -1, None) for number in range(10)]),
        ("mapped", [("each", 0, None), ("each", 1, None), ("each", 2, None)]),
    ],
)
def test_task_instances_are_there(
    bench: Workbench, launcher: AirflowLauncher, dag_id: str, tasks: list[tuple[str, int, None]]
) -> None:
    """Every task has its instances, mapped ones too, for the scheduler to find."""
    event = make_event()
    bench.launch(launcher, event, dags=(dag_id,))
    assert bench.tasks(event) == tasks


def test_deadlines_are_set(bench: Workbench, launcher: AirflowLauncher) -> None:
    """A DAG with a deadline gets it, counted from the queueing of the run."""
    event = make_event()
    bench.launch(launcher, event, dags=("urgent",))
    [run] = bench.runs(event)
    with bench.session() as session:
        [due] = session.scalars(select(Deadline.deadline_time).where(Deadline.dagrun_id == run.id))
    assert run.queued_at is not None
    assert due == run.queued_at + timedelta(hours=1)


def test_an_event_from_the_future_starts_now(bench: Workbench, launcher: AirflowLauncher) -> None:
    """A receiver's clock that runs ahead doesn't delay a run."""
    event = make_event(received_at=datetime.now(timezone.utc) + timedelta(hours=1))
    bench.launch(launcher, event, dags=("one_task",))
    assert bench.runs(event)[0].run_after <= datetime.now(timezone.utc)


def test_a_paused_dag_gets_its_run(bench: Workbench, launcher: AirflowLauncher) -> None:
    """The run waits, queued, until somebody unpauses the DAG."""
    event = make_event()
    bench.launch(launcher, event, dags=("paused",))
    assert [run.state for run in bench.runs(event)] == [DagRunState.QUEUED]


@pytest.mark.parametrize("dag_id", ["missing", "stale", "unserialized", "broken"])
def test_a_dag_that_may_come_is_waited_for(bench: Workbench, launcher: AirflowLauncher, dag_id: str) -> None:
    """A DAG that is not there now is named, and nothing else of the event is started."""
    event = make_event()
    with pytest.raises(DispatchFailed, match=f"DAG '{dag_id}' ") as failure:
        bench.launch(launcher, event, dags=(dag_id,))
    assert failure.value.retry
    assert failure.value.waiting_for == f"dag:{dag_id}"
    assert bench.runs(event) == []


def test_a_dag_without_manual_runs_is_refused(bench: Workbench, launcher: AirflowLauncher) -> None:
    """allowed_run_types without manual can't be overcome by waiting."""
    with pytest.raises(DispatchFailed, match="does not allow manual runs") as failure:
        bench.launch(launcher, make_event(), dags=("scheduled_only",))
    assert (failure.value.retry, failure.value.waiting_for) == (False, None)


@pytest.mark.parametrize(
    ("dag_id", "conf", "param"),
    [
        ("strict", {"order.id": "seven", "unknown": 1}, "order.id"),
        ("strict", {"order.id": 0}, "order.id"),
        ("strict", {"note": 5}, "note"),
        ("strict", {"note": ["x" * 5000]}, "note"),
        ("demanding", {"other": 1}, "order.id"),
    ],
)
def test_params_refuse(
    bench: Workbench, launcher: AirflowLauncher, dag_id: str, conf: dict[str, object], param: str
) -> None:
    """The refused param is named in a sentence that can be shown, and nothing is written."""
    event = make_event()
    with pytest.raises(DispatchFailed) as failure:
        bench.launch(launcher, event, conf, dags=("one_task", dag_id))
    assert not failure.value.retry
    assert f"'{dag_id}'" in failure.value.detail
    assert f"param {param}:" in failure.value.detail
    assert "\n" not in failure.value.detail
    assert len(failure.value.detail) < 500
    assert bench.runs(event) == []
    assert bench.tasks(event) == []


def test_params_accept(bench: Workbench, launcher: AirflowLauncher) -> None:
    """Fields without a declaration pass, and the conf is stored without the defaults."""
    event = make_event()
    bench.launch(launcher, event, {"order.id": 7, "unknown": "x"}, dags=("strict",))
    assert bench.runs(event)[0].conf == {"order.id": 7, "unknown": "x"}


def test_ten_thousand_fields_take_no_seconds(bench: Workbench, launcher: AirflowLauncher) -> None:
    """The cost of params does not grow with the fields that a DAG doesn't declare."""
    conf = {f"items.{number}.sku": number for number in range(10_000)}
    begin = time.perf_counter()
    bench.launch(launcher, make_event(), conf, dags=("one_task",))
    assert time.perf_counter() - begin < 1.5


def test_the_same_event_again_changes_nothing(bench: Workbench, launcher: AirflowLauncher) -> None:
    """What was done is returned as started."""
    event = make_event()
    first = bench.launch(launcher, event, {"n": 1}, dags=("one_task", "other"), assets=("parcels",))
    bench.queued_consumers()
    again = bench.launch(launcher, event, {"n": 2}, dags=("one_task", "other"), assets=("parcels",))
    assert again == first
    assert [(run.dag_id, run.conf) for run in bench.runs(event)] == [
        ("one_task", {"n": 1}),
        ("other", {"n": 1}),
    ]
    assert bench.queued_consumers() == []


def test_an_event_fails_whole(bench: Workbench, launcher: AirflowLauncher) -> None:
    """Where one target is missing, nothing of the others remains, and the rest of the batch does."""
    good, bad = make_event(), make_event()
    one, two = (
        Configuration(dags=("one_task",)),
        Configuration(dags=("one_task", "missing"), assets=("parcels",)),
    )
    with bench.session() as session:
        launcher.prepare(session, [pending(bad, two), pending(good, one)])
        with pytest.raises(DispatchFailed), session.begin_nested():
            launcher.launch(session, pending(bad, two))
        with session.begin_nested():
            launcher.launch(session, pending(good, one))
    assert bench.runs(bad) == []
    assert bench.tasks(bad) == []
    assert len(bench.runs(good)) == 1


def test_nothing_remains_of_a_batch_that_is_rolled_back(bench: Workbench, launcher: AirflowLauncher) -> None:
    """Savepoints commit nothing by themselves, not even on SQLite."""
    event = make_event()
    configuration = Configuration(dags=("one_task",), assets=("orders",))
    with bench.session() as session:
        launcher.prepare(session, [pending(event, configuration)])
        with session.begin_nested():
            launcher.launch(session, pending(event, configuration, {"_incoming.event_id": str(event.id)}))
        session.rollback()
    assert bench.runs(event) == []
    assert bench.asset_events(event) == []
    assert bench.queued_consumers() == []


def test_a_run_that_appears_meanwhile_is_found(bench: Workbench, launcher: AirflowLauncher) -> None:
    """A run made after prepare is told from other conflicts, and only its savepoint is lost."""
    event, good = make_event(), make_event()
    configuration = Configuration(dags=("one_task",))
    with bench.session() as session:
        launcher.prepare(session, [pending(event, configuration), pending(good, configuration)])
        with session.begin_nested():
            launcher.launch(session, pending(event, configuration))
        with pytest.raises(AlreadyLaunched) as failure, session.begin_nested():
            launcher.launch(session, pending(event, configuration))
        with session.begin_nested():
            launcher.launch(session, pending(good, configuration))
    assert failure.value.started == (Started(dag_id="one_task", run_id=run_id_of(event)),)
    assert len(bench.runs(event)) == 1
    assert len(bench.runs(good)) == 1


def test_two_dispatchers_make_one_run(bench: Workbench) -> None:
    """At the same moment, one makes the run, and the other learns that it exists."""
    event = make_event()
    configuration = Configuration(dags=("ten_tasks",))
    together = threading.Barrier(2)
    outcomes: list[str] = []

    def dispatch() -> None:
        launcher = AirflowLauncher()
        with bench.session() as session:
            launcher.prepare(session, [])
        together.wait()
        with bench.session() as session:
            try:
                with session.begin_nested():
                    launcher.launch(session, pending(event, configuration))
                outcomes.append("made")
                time.sleep(0.2)
            except AlreadyLaunched:
                outcomes.append("found")

    threads = [threading.Thread(target=dispatch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # SQLite lets the second in after the first has committed, so it sees the run beforehand.
    assert sorted(outcomes) in (["found", "made"], ["made", "made"])
    assert len(bench.runs(event)) == 1
    assert len(bench.tasks(event)) == 10


def test_tasks_that_cannot_be_created_cost_one_event(
    bench: Workbench, launcher: AirflowLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's rollback of the whole transaction is kept to the savepoint."""

    def duplicate(task_instance: object, dag_run: DagRun | None = None) -> None:
        task_instance.task_id = "same"  # type: ignore[attr-defined]

    bad, good = make_event(), make_event()
    ten, one = Configuration(dags=("ten_tasks",)), Configuration(dags=("one_task",))
    monkeypatch.setattr("airflow.settings.task_instance_mutation_hook", duplicate)
    with bench.session() as session:
        launcher.prepare(session, [pending(bad, ten), pending(good, one)])
        with session.begin_nested():
            launcher.launch(session, pending(good, one))
        with (
            pytest.raises(DispatchFailed, match="could not create the tasks") as failure,
            session.begin_nested(),
        ):
            launcher.launch(session, pending(bad, ten))
    assert failure.value.retry
    assert bench.runs(bad) == []
    assert len(bench.runs(good)) == 1


def test_a_changed_dag_is_used_in_the_next_batch(bench: Workbench, launcher: AirflowLauncher) -> None:
    """Both ways of Airflow to change a DAG are noticed: in place, and as a new version."""
    made: list[Event] = []

    def launch() -> None:
        made.append(make_event())
        bench.launch(launcher, made[-1], dags=("changing",))

    bench.deploy(dag("changing", "first"))
    with bench.session() as session:
        load = select(SerializedDagModel.dag_version_id).where(SerializedDagModel.dag_id == "changing")
        before = session.scalars(load).all()
        state = launcher.ready(session, ["changing"], [])
    assert state == {"dag:changing"}
    # Keeps the structure, and makes no run.
    with bench.session() as session, pytest.raises(DispatchFailed), session.begin_nested():
        launcher.launch(session, pending(make_event(), Configuration(dags=("changing", "missing"))))
    bench.deploy(dag("changing", "second"))
    launch()
    with bench.session() as session:
        assert session.scalars(load).all() == before  # changed in place
    bench.deploy(dag("changing", "third"))
    launch()
    assert [[task for task, _, _ in bench.tasks(event)] for event in made] == [["second"], ["third"]]
    versions = [bench.runs(event)[0].created_dag_version_id for event in made]
    assert versions[0] != versions[1]


def test_a_dag_that_changes_within_a_batch_is_tried_again(
    bench: Workbench, launcher: AirflowLauncher
) -> None:
    """A run never gets the tasks of one version and the name of another."""
    bench.deploy(dag("racing", "first"))
    bench.launch(launcher, make_event(), dags=("racing",))
    event, configuration = make_event(), Configuration(dags=("racing",))
    with bench.session() as session:
        launcher.prepare(session, [pending(event, configuration)])
    bench.deploy(dag("racing", "second"))
    refused = pytest.raises(DispatchFailed, match="was changed")
    with bench.session() as session, refused as failure, session.begin_nested():
        launcher.launch(session, pending(event, configuration))
    assert failure.value.retry
    assert bench.launch(launcher, event, dags=("racing",))
    assert [task for task, _, _ in bench.tasks(event)] == ["second"]


def test_a_batch_costs_few_statements(bench: Workbench, launcher: AirflowLauncher) -> None:
    """Looking up 20 events with 3 DAGs each takes three statements, and structures are read once."""
    configuration = Configuration(dags=("one_task", "other", "ten_tasks"), assets=("parcels",))
    events = [make_event() for _ in range(20)]
    bench.launch(launcher, make_event(), dags=configuration.dags)
    with bench.statements() as statements, bench.session() as session:
        launcher.prepare(session, [pending(event, configuration) for event in events])
    assert len([text for text in statements if text.startswith("SELECT")]) == 3
    with bench.statements() as statements:
        bench.launch(launcher, make_event(), dags=configuration.dags)
    assert not [text for text in statements if "serialized_dag.data" in text]


def test_at_most_so_many_structures_are_kept(bench: Workbench) -> None:
    """The one that was used the longest time ago goes first, and is read again."""
    launcher = AirflowLauncher(cached_dags=2)
    for dag_id in ("one_task", "other", "ten_tasks", "one_task"):
        bench.launch(launcher, make_event(), dags=(dag_id,))
    assert len(launcher._catalog) == 2


def test_ready_tells_what_can_be_started(bench: Workbench, launcher: AirflowLauncher) -> None:
    """Of what events wait for, that is named which is there now, with two statements for all."""
    bench.deploy(dag("coming"))
    with bench.session() as session:
        session.execute(
            update(SerializedDagModel).where(SerializedDagModel.dag_id == "coming").values(dag_hash="x")
        )
    dag_ids = ["one_task", "paused", "missing", "stale", "unserialized", "broken", "coming"]
    with bench.statements() as statements, bench.session() as session:
        ready = launcher.ready(session, dag_ids, ["incoming://orders", "parcels", "nothing"])
    assert ready == {"dag:one_task", "dag:paused", "dag:coming", "asset:incoming://orders", "asset:parcels"}
    assert len([text for text in statements if text.startswith("SELECT")]) == 2
    with bench.session() as session:
        assert launcher.ready(session, [], []) == set()


def test_every_event_makes_its_own_run(bench: Workbench, launcher: AirflowLauncher) -> None:
    """A batch received in one instant doesn't collide."""
    events = [make_event(received_at=RECEIVED) for _ in range(5)]
    configuration = Configuration(dags=("one_task",))
    with bench.session() as session:
        launcher.prepare(session, [pending(event, configuration) for event in events])
        for event in events:
            with session.begin_nested():
                launcher.launch(session, pending(event, configuration))
        ids = [run_id_of(event) for event in events]
        count = select(func.count()).select_from(DagRun).where(DagRun.run_id.in_(ids))
        assert session.scalar(count) == 5
