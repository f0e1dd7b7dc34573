"""What the editor says about targets is what the dispatcher would meet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from airflow_incoming.core.errors import DispatchFailed
from airflow_incoming.services.launch import AirflowLauncher
from airflow_incoming.services.readiness import HIDDEN, ReadinessCheck
from tests.integration.launch.samples import dag
from tests.integration.launch.workbench import Workbench, make_event


@pytest.fixture
def check(bench: Workbench) -> ReadinessCheck:
    return ReadinessCheck(bench.engine)


@pytest.mark.parametrize(
    ("dag_id", "kind", "text"),
    [
        ("one_task", "success", "Ready"),
        ("paused", "warning", "waits until the DAG is unpaused"),
        ("nowhere", "danger", "does not exist"),
        ("stale", "danger", "stale"),
        ("broken", "danger", "import errors"),
        ("unserialized", "danger", "not been serialized"),
        ("scheduled_only", "danger", "does not allow manual runs"),
    ],
)
def test_each_state_is_told_in_words(check: ReadinessCheck, dag_id: str, kind: str, text: str) -> None:
    """One line for each DAG, in the order that was asked for."""
    other, found = check.dags(["other", dag_id], None, readable={"other", dag_id})
    assert (other.target, found.target, found.kind) == ("other", dag_id, kind)
    assert text in found.text


def test_nothing_is_said_of_what_is_not_for_whoever_asks(check: ReadinessCheck) -> None:
    """A DAG that is there, one that is broken and one that isn't there look alike; so do assets."""
    found = check.dags(["other", "one_task", "broken", "nowhere"], {}, readable={"other"})
    assert found[0].kind == "success"
    assert {(each.kind, each.text) for each in found[1:]} == {("hidden", HIDDEN)}
    hidden = check.assets(["incoming://orders", "nobody"], readable=False)
    assert {(each.kind, each.text) for each in hidden} == {("hidden", "You may not look at assets.")}


@pytest.mark.parametrize(
    ("dag_id", "conf"),
    [
        ("strict", {"order.id": 7}),
        ("strict", {"order.id": 7, "more": {}}),
        ("strict", {"order.id": "7"}),
        ("strict", {"order.id": 0}),
        ("strict", {"note": None}),
        ("demanding", {"order.id": 1}),
        ("demanding", {}),
    ],
)
def test_params_are_judged_as_the_dispatcher_judges_them(
    bench: Workbench, launcher: AirflowLauncher, check: ReadinessCheck, dag_id: str, conf: dict[str, Any]
) -> None:
    """The same words for the same sample, or ready where a run is made."""
    [found] = check.dags([dag_id], conf, readable={dag_id})
    event = make_event()
    if found.kind == "success":
        bench.launch(launcher, event, conf, dags=(dag_id,))
        assert bench.runs(event) != []
    else:
        with pytest.raises(DispatchFailed) as caught:
            bench.launch(launcher, event, conf, dags=(dag_id,))
        assert found.text == caught.value.detail
        assert "order.id" in found.text or "note" in found.text


def test_assets_are_ready_when_a_dag_names_them(check: ReadinessCheck) -> None:
    """By URI as written, or by name."""
    found = check.assets(["incoming://orders", "parcels", "nobody"], readable=True)
    assert [(each.target, each.kind) for each in found] == [
        ("incoming://orders", "success"),
        ("parcels", "success"),
        ("nobody", "danger"),
    ]
    assert check.assets([], readable=True) == []


def everything(dag_ids: Iterable[str]) -> set[str]:
    return set(dag_ids)


def test_dags_are_found_by_part_of_their_name(bench: Workbench, check: ReadinessCheck) -> None:
    """Upper or lower case, by id or display name; stale DAGs are not found."""
    bench.deploy(dag("shown_otherwise", dag_display_name="Monthly Report 100%"))
    assert [each.dag_id for each in check.search("TASK", allowed=everything)] == ["one_task", "ten_tasks"]
    [found] = check.search("report", allowed=everything)
    assert (found.dag_id, found.display_name) == ("shown_otherwise", "Monthly Report 100%")
    assert [each.dag_id for each in check.search("100%", allowed=everything)] == ["shown_otherwise"]
    assert check.search("stale", allowed=everything) == []
    assert check.search("%", allowed=everything) == [found]
    assert [each.paused for each in check.search("paused", allowed=everything)] == [True, True]


def test_what_is_not_allowed_is_not_found(check: ReadinessCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    """And doesn't use up the room of what is, however many there are before it."""
    monkeypatch.setattr("airflow_incoming.services.readiness.PAGE", 3)
    found = check.search("", allowed=lambda ids: {"ten_tasks"} & set(ids), limit=1)
    assert [each.dag_id for each in found] == ["ten_tasks"]
