"""An event becomes an asset event, and the DAGs that are scheduled on the asset are queued."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.models.asset import AssetActive
from sqlalchemy import delete, insert

from airflow_incoming.core.errors import DispatchFailed
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event, Started
from airflow_incoming.services.asset_catalog import stored_uri
from airflow_incoming.services.launch import AirflowLauncher
from tests.integration.launch.workbench import Workbench, make_event, pending


@pytest.fixture(autouse=True)
def _nobody_queued(bench: Workbench) -> None:
    bench.queued_consumers()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Airflow's listeners are told."""
    from airflow.assets.manager import AssetManager

    told: list[Any] = []

    def listen(asset_event: Any) -> None:
        told.append(asset_event)

    monkeypatch.setattr(AssetManager, "nofity_asset_event_emitted", staticmethod(listen))
    return told


def conf_for(event: Event) -> dict[str, Any]:
    return {"order.id": 2**64 + 1, "naïve": "ž", "_incoming.event_id": str(event.id)}


@pytest.mark.parametrize("target", ["incoming://orders", "incoming://orders/", "orders"])
def test_an_asset_is_found_by_uri_or_name(bench: Workbench, launcher: AirflowLauncher, target: str) -> None:
    """The flattened data is the extra, and every consumer is queued once, paused ones not."""
    event = make_event()
    started = bench.launch(launcher, event, conf_for(event), assets=(target,))
    assert started == (Started(asset=target),)
    assert bench.asset_events(event) == [("orders", conf_for(event))]
    assert bench.queued_consumers() == ["on_orders"]


def test_a_batch_queues_a_consumer_once(bench: Workbench, launcher: AirflowLauncher) -> None:
    """Many asset events between two looks of the scheduler make one run, as always in Airflow."""
    events = [make_event() for _ in range(3)]
    configuration = Configuration(assets=("orders", "parcels"))
    with bench.session() as session:
        launcher.prepare(session, [pending(event, configuration) for event in events])
        for event in events:
            with session.begin_nested():
                launcher.launch(session, pending(event, configuration, conf_for(event)))
    assert [len(bench.asset_events(event)) for event in events] == [2, 2, 2]
    assert bench.queued_consumers() == ["on_orders", "on_parcels"]


def test_listeners_hear_after_the_commit(
    bench: Workbench, launcher: AirflowLauncher, heard: list[Any]
) -> None:
    """They are told once, and only what was committed."""
    event, lost = make_event(), make_event()
    bench.launch(launcher, event, conf_for(event), assets=("orders",))
    assert heard == []
    launcher.announce()
    launcher.announce()
    assert [one.extra["_incoming.event_id"] for one in heard] == [str(event.id)]
    bench.launch(launcher, lost, conf_for(lost), assets=("orders",))
    launcher.discard()
    launcher.announce()
    assert len(heard) == 1


def test_an_event_that_fails_is_not_announced(
    bench: Workbench, launcher: AirflowLauncher, heard: list[Any]
) -> None:
    """The asset event before the missing one is rolled back with it."""
    event = make_event()
    with pytest.raises(DispatchFailed, match="no active asset 'nothing'") as failure:
        bench.launch(launcher, event, conf_for(event), dags=("one_task",), assets=("orders", "nothing"))
    assert (failure.value.retry, failure.value.waiting_for) == (True, "asset:nothing")
    launcher.announce()
    assert heard == []
    assert bench.asset_events(event) == []
    assert bench.queued_consumers() == []
    assert bench.runs(event) == []


def test_a_listener_that_fails_harms_nobody(
    bench: Workbench, launcher: AirflowLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit has happened; the failure is for the log."""
    from airflow.assets.manager import AssetManager

    def fail(**_: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(AssetManager, "notify_asset_changed", staticmethod(fail))
    event = make_event()
    bench.launch(launcher, event, conf_for(event), assets=("orders",))
    launcher.announce()


def test_an_inactive_asset_is_waited_for(bench: Workbench, launcher: AirflowLauncher) -> None:
    """An asset that no DAG names any more doesn't take events."""
    with bench.session() as session:
        session.execute(delete(AssetActive).where(AssetActive.name == "parcels"))
    try:
        with pytest.raises(DispatchFailed) as failure:
            bench.launch(launcher, make_event(), assets=("parcels",))
        assert failure.value.waiting_for == "asset:parcels"
    finally:
        with bench.session() as session:
            session.execute(insert(AssetActive).values(name="parcels", uri="parcels"))


@pytest.mark.parametrize(
    ("target", "stored"),
    [
        ("incoming://orders", "incoming://orders/"),
        ("INCOMING://orders/a/", "incoming://orders/a"),
        ("orders", "orders"),
        ("airflow://reserved", "airflow://reserved"),
    ],
)
def test_a_uri_has_one_stored_spelling(target: str, stored: str) -> None:
    """A URI is looked up as Airflow normalizes it."""
    assert stored_uri(target) == stored
