"""Where Airflow has teams, a DAG gets what somebody of its team has let it get, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from uuid import UUID

import pytest
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.team import Team
from sqlalchemy import delete, insert, update

from airflow_incoming.core.errors import DispatchFailed
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event
from airflow_incoming.db import tables
from airflow_incoming.services import teams
from airflow_incoming.services.launch import AirflowLauncher
from tests.integration.launch.workbench import BUNDLE, Workbench, make_event, pending

VERSION = UUID(int=2)  # of the events that are made here


@pytest.fixture
def bind(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Say which teams a version remembers; ``one_task`` is of the team ``red``."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")

    def remember(bound: Mapping[str, str | None] | None) -> None:
        with bench.session() as session:
            session.execute(update(tables.version).where(tables.version.c.id == VERSION).values(teams=bound))

    with bench.session() as session:
        bundle = DagBundleModel(name="of-red")
        bundle.teams = [Team(name="red")]
        session.add(bundle)
        session.flush()
        session.execute(update(DagModel).where(DagModel.dag_id == "one_task").values(bundle_name="of-red"))
        session.execute(
            insert(tables.version).values(
                id=VERSION,
                integration_id=UUID(int=1),
                number=1,
                configuration={},
                created_at=make_event().received_at,
                created_by="test",
            )
        )
    yield remember
    with bench.session() as session:
        session.execute(delete(tables.version).where(tables.version.c.id == VERSION))
        session.execute(update(DagModel).where(DagModel.dag_id == "one_task").values(bundle_name=BUNDLE))
        session.delete(session.get_one(DagBundleModel, "of-red"))
        session.delete(session.get_one(Team, "red"))


def together(bench: Workbench, launcher: AirflowLauncher, event: Event, dag_id: str) -> bool:
    """Tell whether an event is started together with others."""
    one = pending(event, Configuration(dags=(dag_id,)))
    with bench.session() as session:
        launcher.prepare(session, [one])
        return event.id in launcher.launch_together(session, [one])


@pytest.mark.parametrize(
    "bound",
    [
        {},
        {"other": "red"},
        {"one_task": None},
        {"one_task": "blue"},
    ],
)
def test_a_dag_of_another_team_gets_nothing(
    bench: Workbench,
    launcher: AirflowLauncher,
    bind: Callable[..., None],
    bound: Mapping[str, str | None],
) -> None:
    """Neither together nor alone; the event is given up, and says what to do."""
    bind(bound)
    event = make_event()
    assert not together(bench, launcher, event, "one_task")
    with pytest.raises(DispatchFailed, match="publish the integration again") as failed:
        bench.launch(launcher, event, dags=("one_task",))
    assert failed.value.retry is False
    assert bench.runs(event) == []


def test_what_was_published_before_there_were_teams_waits(
    bench: Workbench, launcher: AirflowLauncher, bind: Callable[..., None]
) -> None:
    """Neither together nor alone is it started, nor is it given up: somebody is to publish it again."""
    bind(None)
    event = make_event()
    assert not together(bench, launcher, event, "one_task")
    with pytest.raises(DispatchFailed, match="isn't known: Airflow had no teams then") as failed:
        bench.launch(launcher, event, dags=("one_task",))
    assert (failed.value.retry, failed.value.waiting_for) == (True, f"teams:{VERSION}")
    assert "another team" not in failed.value.detail
    assert bench.runs(event) == []


@pytest.mark.parametrize(
    ("dag_id", "bound"),
    [
        ("one_task", {"one_task": "red"}),
        ("one_task", {"one_task": teams.ANY}),
        ("other", {"other": None}),
    ],
)
def test_what_was_bound_runs(
    bench: Workbench,
    launcher: AirflowLauncher,
    bind: Callable[..., None],
    dag_id: str,
    bound: Mapping[str, str | None],
) -> None:
    """Of the same team, of none as before, and what somebody trusted has bound before it was there."""
    bind(bound)
    assert together(bench, launcher, make_event(), dag_id)
    event = make_event()
    bench.launch(launcher, event, dags=(dag_id,))
    assert [run.dag_id for run in bench.runs(event)] == [dag_id]


def test_a_dag_that_is_not_there_is_waited_for(
    bench: Workbench, launcher: AirflowLauncher, bind: Callable[..., None]
) -> None:
    """Nobody knows its team yet."""
    bind({"nowhere": teams.ANY})
    with pytest.raises(DispatchFailed, match="does not exist") as failed:
        bench.launch(launcher, make_event(), dags=("nowhere",))
    assert failed.value.retry is True


def test_without_teams_nothing_is_asked(
    bench: Workbench, launcher: AirflowLauncher, bind: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one statement more."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "False")
    bind(None)
    event = make_event()
    with bench.statements() as seen:
        bench.launch(launcher, event, dags=("one_task",))
    assert not [statement for statement in seen if "incoming_version" in statement or "team" in statement]
    assert len(bench.runs(event)) == 1
