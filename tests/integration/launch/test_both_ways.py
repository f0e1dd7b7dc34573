"""Runs that are made together are the same, column by column, as those that Airflow makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow import settings
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.policies import hookimpl
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.version import version
from sqlalchemy import Engine, create_mock_engine, delete, event, update
from sqlalchemy.orm import Session

from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import PendingEvent
from airflow_incoming.services.launch import AirflowLauncher, run_id_of, trust
from tests.integration.launch import shapes
from tests.integration.launch.comparing import Rows, Witness, comparable
from tests.integration.launch.samples import dag
from tests.integration.launch.workbench import Workbench, make_event, pending

CONF: dict[str, Any] = {
    "order.id": 7,
    "naïve 😀": "žluťoučký",
    "big": 2**64 + 1,
    "price": 1.0,
    "null": None,
    "empty": {},
    "list": [],
    "airflow/task_span_detail_level": 2,
}


@pytest.fixture(scope="module")
def witness(engine: Engine) -> Witness:
    return Witness(engine)


@pytest.fixture(scope="module", autouse=True)
def _deployed(engine: Engine) -> Iterator[None]:
    """Every shape, and a strategy that a plugin brings."""
    strategies = {f"{shapes.__name__}.Heaviest": shapes.Heaviest}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow.plugins_manager.get_priority_weight_strategy_plugins", lambda: strategies)
        made = [shapes.make(name, shape) for name, shape in (shapes.PLAIN | shapes.SPECIAL).items()]
        patch.setenv("AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL", "0")
        Workbench(engine).deploy(*made)
        yield


def together(bench: Workbench, launcher: AirflowLauncher, *events: PendingEvent) -> set[Any]:
    """Start events as a dispatcher does, and return the ids of those that could be started together."""
    with bench.session() as session:
        launcher.prepare(session, events)
        return set(launcher.launch_together(session, events))


def singly(bench: Workbench, launcher: AirflowLauncher, one: PendingEvent) -> None:
    with bench.session() as session:
        launcher.prepare(session, [one])
        with session.begin_nested():
            launcher.launch(session, one)


def forget(bench: Workbench, one: PendingEvent) -> None:
    with bench.session() as session:
        session.execute(delete(DagRun).where(DagRun.run_id == run_id_of(one.event)))


def both_ways(
    bench: Workbench, witness: Witness, launcher: AirflowLauncher, one: PendingEvent
) -> tuple[Rows, Rows]:
    """Return what both ways write for the same event."""
    with witness.written() as expected:
        singly(bench, launcher, one)
    forget(bench, one)
    with witness.written() as made:
        assert together(bench, launcher, one) == {one.event.id}
    return made, expected


def test_this_release_of_airflow_was_compared() -> None:
    """What this module compares is what trust says."""
    assert version in trust.PROVEN


@pytest.mark.parametrize("name", shapes.PLAIN)
@pytest.mark.parametrize("conf", [CONF, {}], ids=["conf", "no conf"])
def test_both_ways_write_the_same(
    bench: Workbench, witness: Witness, launcher: AirflowLauncher, name: str, conf: dict[str, Any]
) -> None:
    """Whatever tables and columns Airflow fills, now or in a later release."""
    one = pending(make_event(), Configuration(dags=(f"shape_{name}",)), conf)
    made, expected = both_ways(bench, witness, launcher, one)
    assert set(expected) == ({"dag_run"} if name == "empty" else {"dag_run", "task_instance"})
    assert comparable(made) == comparable(expected)


def test_several_targets_and_events_write_the_same(
    bench: Workbench, witness: Witness, launcher: AirflowLauncher
) -> None:
    """A batch of events with several DAGs each is the sum of its events."""
    dags = ("shape_chain", "shape_particular", "shape_params")
    events = [pending(make_event(), Configuration(dags=dags), {"order.id": number}) for number in range(5)]
    with witness.written() as expected:
        for one in events:
            singly(bench, launcher, one)
    for one in events:
        forget(bench, one)
    with witness.written() as made:
        assert together(bench, launcher, *events) == {one.event.id for one in events}
    assert len(expected["dag_run"]) == 15
    assert comparable(made) == comparable(expected)


@pytest.mark.parametrize("versioned", [True, False])
def test_a_version_of_the_bundle_is_kept(
    bench: Workbench, witness: Witness, launcher: AirflowLauncher, versioned: bool
) -> None:
    """A run of a versioned bundle remembers the version, unless its DAG doesn't want that."""
    dag_id = "shape_plain" if versioned else "shape_unversioned"
    for commit in ("0123abc", "4567def"):
        with bench.session() as session:
            session.execute(update(DagModel).where(DagModel.dag_id == dag_id).values(bundle_version=commit))
        one = pending(make_event(), Configuration(dags=(dag_id,)))
        made, expected = both_ways(bench, witness, launcher, one)
        assert made["dag_run"][0]["bundle_version"] == (commit if versioned else None)
        assert comparable(made) == comparable(expected)


def test_every_version_of_a_dag_writes_the_same(
    bench: Workbench, witness: Witness, launcher: AirflowLauncher
) -> None:
    """The launcher's memory of a DAG follows its versions, new ones and those changed in place."""
    for tasks in (["first"], ["first", "second"], ["third"]):
        bench.deploy(dag("shape_changing", *tasks))
        one = pending(make_event(), Configuration(dags=("shape_changing",)))
        assert together(bench, launcher, one)
        assert [task for task, _, _ in bench.tasks(one.event)] == tasks
        again = pending(make_event(), Configuration(dags=("shape_changing",)))
        made, expected = both_ways(bench, witness, launcher, again)
        assert comparable(made) == comparable(expected)
    bench.deploy(dag("shape_in_place", "before"))
    unused = pending(make_event(), Configuration(dags=("shape_in_place", "missing")))
    assert together(bench, launcher, unused) == set()
    bench.deploy(dag("shape_in_place", "after"))
    one = pending(make_event(), Configuration(dags=("shape_in_place",)))
    assert together(bench, launcher, one)
    assert [task for task, _, _ in bench.tasks(one.event)] == ["after"]


def test_a_dag_may_become_special_and_plain_again(bench: Workbench, launcher: AirflowLauncher) -> None:
    """What was found out about one version doesn't hold for the next."""

    def started() -> bool:
        one = pending(make_event(), Configuration(dags=("shape_turning",)))
        found = together(bench, launcher, one)
        if not found:
            singly(bench, launcher, one)
        return bool(found)

    outcomes = []
    for build in (shapes.only, shapes.mapped_by_list, shapes.chain):
        bench.deploy(shapes.make("turning", (build, {})))
        outcomes.append(started())
    assert outcomes == [True, False, True]


@pytest.mark.parametrize("name", shapes.SPECIAL)
def test_a_special_dag_is_left_to_airflow(bench: Workbench, launcher: AirflowLauncher, name: str) -> None:
    """One of each kind: its neighbours are started together, it alone."""
    special = pending(make_event(), Configuration(dags=(f"shape_{name}",)))
    mixed = pending(make_event(), Configuration(dags=("shape_plain", f"shape_{name}")))
    plain = pending(make_event(), Configuration(dags=("shape_plain",)))
    assert together(bench, launcher, special, mixed, plain) == {plain.event.id}
    assert (bench.runs(special.event), bench.runs(mixed.event)) == ([], [])
    singly(bench, launcher, special)
    assert len(bench.runs(special.event)) == 1
    assert bench.tasks(special.event)


@pytest.mark.parametrize(
    ("targets", "conf"),
    [
        ({"dags": ("shape_plain",), "assets": ("parcels",)}, {}),
        ({"assets": ("parcels",)}, {}),
        ({}, {}),
        ({"dags": ("missing",)}, {}),
        ({"dags": ("broken",)}, {}),
        ({"dags": ("shape_plain", "stale")}, {}),
        ({"dags": ("scheduled_only",)}, {}),
        ({"dags": ("strict",)}, {"order.id": "seven"}),
        ({"dags": ("demanding",)}, {}),
    ],
)
def test_what_airflow_may_refuse_is_left_to_airflow(
    bench: Workbench, launcher: AirflowLauncher, targets: dict[str, Any], conf: dict[str, Any]
) -> None:
    """It says why, and it alone knows about assets; the others are started."""
    doubtful = pending(make_event(), Configuration(**targets), conf)
    plain = pending(make_event(), Configuration(dags=("shape_plain",)), conf)
    assert together(bench, launcher, doubtful, plain) == {plain.event.id}
    assert bench.runs(doubtful.event) == []


def test_a_dag_that_nobody_understands_costs_itself_only(
    bench: Workbench, launcher: AirflowLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with one DAG, the runs of others are made together."""
    from airflow_incoming.services.launch import plans

    def is_plain(dag: SerializedDAG) -> bool:
        return dag.dag_id != "shape_chain" or 1 / 0 > 0

    monkeypatch.setattr(plans, "is_plain", is_plain)
    odd = pending(make_event(), Configuration(dags=("shape_chain",)))
    plain = pending(make_event(), Configuration(dags=("shape_plain",)))
    assert together(bench, launcher, odd, plain) == {plain.event.id}


def test_a_run_that_exists_is_left_alone(bench: Workbench, launcher: AirflowLauncher) -> None:
    """It was made before: launch says what was started."""
    one = pending(make_event(), Configuration(dags=("shape_plain",)), {"n": 1})
    assert together(bench, launcher, one)
    assert together(bench, launcher, one) == set()
    singly(bench, launcher, one)
    assert [run.conf for run in bench.runs(one.event)] == [{"n": 1}]


def test_a_run_that_another_made_meanwhile_undoes_the_batch_only(
    bench: Workbench, launcher: AirflowLauncher
) -> None:
    """Nothing of the batch remains, and the transaction goes on."""
    first, second = (pending(make_event(), Configuration(dags=("shape_plain",))) for _ in range(2))
    with bench.session() as session:
        launcher.prepare(session, [first, second])
    assert together(bench, AirflowLauncher(), second)
    with bench.session() as session:
        with pytest.raises(Exception, match=r"(?i)unique"):
            launcher.launch_together(session, [first, second])
        with session.begin_nested():
            launcher.launch(session, first)
    assert (len(bench.runs(first.event)), len(bench.runs(second.event))) == (1, 1)
    assert len(bench.tasks(first.event)) == 1


def test_a_cluster_policy_is_obeyed(
    bench: Workbench, launcher: AirflowLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook that changes task instances works as ever: Airflow calls it."""

    def reroute(task_instance: Any, dag_run: DagRun | None = None) -> None:
        task_instance.queue = "rerouted"

    one = pending(make_event(), Configuration(dags=("shape_plain",)))
    monkeypatch.setattr(settings, "task_instance_mutation_hook", reroute)
    assert together(bench, launcher, one) == set()
    singly(bench, launcher, one)
    with bench.session() as session:
        [run] = session.query(DagRun).where(DagRun.run_id == run_id_of(one.event))
        assert [task.queue for task in run.task_instances] == ["rerouted"]


@pytest.mark.parametrize("target", ["mapper", "session"])
def test_whoever_watches_rows_sees_them(bench: Workbench, launcher: AirflowLauncher, target: str) -> None:
    """A plugin that listens to SQLAlchemy gets to know of every run."""
    seen: list[str] = []

    def on_insert(_: Any, __: Any, run: DagRun) -> None:
        seen.append(run.run_id)

    def on_flush(session: Session, *_: Any) -> None:
        seen.extend(new.run_id for new in session.new if isinstance(new, DagRun))

    watched, name, watch = {
        "mapper": (DagRun, "before_insert", on_insert),
        "session": (Session, "before_flush", on_flush),
    }[target]
    one = pending(make_event(), Configuration(dags=("shape_plain",)))
    event.listen(watched, name, watch)
    try:
        assert together(bench, launcher, one) == set()
        singly(bench, launcher, one)
    finally:
        event.remove(watched, name, watch)
    assert seen == [run_id_of(one.event)]
    assert together(bench, launcher, pending(make_event(), one.configuration))


def test_flask_appbuilder_is_no_reason(bench: Workbench, launcher: AirflowLauncher) -> None:
    """What api-servers have in their process listens to every session, and touches no row of Airflow's."""
    from sqlalchemy_utils.aggregates import manager

    manager.register_listeners()
    one = pending(make_event(), Configuration(dags=("shape_plain",)))
    try:
        assert list(Session().dispatch.after_flush)
        assert together(bench, launcher, one) == {one.event.id}
    finally:
        event.remove(Session, "after_flush", manager.construct_aggregate_queries)


def test_a_policy_of_a_plugin_is_obeyed(bench: Workbench, launcher: AirflowLauncher) -> None:
    """Airflow calls it, though it marks only those in airflow_local_settings."""

    class Policy:
        @hookimpl
        def task_instance_mutation_hook(self, task_instance: Any) -> None: ...

    policy = Policy()
    settings.get_policy_plugin_manager().register(policy)
    try:
        assert together(bench, launcher, pending(make_event(), Configuration(dags=("shape_plain",)))) == set()
    finally:
        settings.get_policy_plugin_manager().unregister(policy)


def test_another_release_of_airflow_is_not_trusted(
    bench: Workbench,
    launcher: AirflowLauncher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Until both ways were compared on it; the log says so once."""
    monkeypatch.setattr(trust, "version", "3.4.0")
    caplog.set_level("INFO")
    one = pending(make_event(), Configuration(dags=("shape_plain",)))
    assert [together(bench, launcher, one) for _ in range(3)] == [set(), set(), set()]
    said = [text for text in caplog.messages if "one by one" in text]
    assert len(said) == 1
    assert "and this is 3.4.0" in said[0]


def test_a_database_on_which_nothing_was_compared_is_not_trusted() -> None:
    """MySQL's rows are Airflow's own to make."""
    mysql = create_mock_engine("mysql+mysqldb://", lambda *_: None)
    why = trust.doubt(Session(mysql))  # type: ignore[arg-type]  # only its dialect matters
    assert why == "both ways were compared on postgresql and sqlite, and this is mysql"


def test_metrics_count_the_same(
    bench: Workbench, launcher: AirflowLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """task_instance_created grows by as many, under the same tags."""
    counted: list[tuple[str, int, tuple[tuple[str, str], ...]]] = []

    def incr(name: str, count: int = 1, *_: Any, tags: dict[str, str], **__: Any) -> None:
        counted.append((name, count, tuple(sorted(tags.items()))))

    monkeypatch.setattr("airflow._shared.observability.metrics.stats.incr", incr)
    events = [pending(make_event(), Configuration(dags=("shape_particular",))) for _ in range(3)]
    for one in events:
        singly(bench, launcher, one)
        forget(bench, one)
    expected = [(name, 3 * count, tags) for name, count, tags in counted[: len(counted) // 3]]
    counted.clear()
    assert together(bench, launcher, *events)
    assert sorted(counted) == sorted(expected)
    assert counted


def test_a_batch_costs_the_same_statements_whatever_its_size(
    bench: Workbench, launcher: AirflowLauncher
) -> None:
    """Three look-ups, and a template, two INSERTs and their savepoint: for one event and for fifty."""
    configuration = Configuration(dags=("ten_tasks",))
    together(bench, launcher, pending(make_event(), configuration))
    counts = []
    for number in (1, 50):
        with bench.statements() as statements:
            events = [pending(make_event(), configuration) for _ in range(number)]
            assert len(together(bench, launcher, *events)) == number
        counts.append(len([text for text in statements if not text.startswith("BEGIN")]))
    assert counts == [7, 7]


def test_a_batch_of_large_dags_is_written_in_pieces(bench: Workbench, launcher: AirflowLauncher) -> None:
    """2 400 task instances are all there, and never in the memory together."""
    with DAG("shape_large", schedule=None) as large:
        for number in range(300):
            EmptyOperator(task_id=f"task_{number}")
    bench.deploy(large)
    events = [pending(make_event(), Configuration(dags=("shape_large",))) for _ in range(8)]
    with bench.statements() as statements:
        assert len(together(bench, launcher, *events)) == 8
    assert len([text for text in statements if text.startswith("INSERT INTO task_instance")]) == 3
    assert [len(bench.tasks(one.event)) for one in events] == [300] * 8
