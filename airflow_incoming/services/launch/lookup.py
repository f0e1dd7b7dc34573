"""What the database says about the targets of some events when their batch begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from airflow.models.dagrun import DagRun
from airflow.serialization.definitions.assets import SerializedAssetUniqueKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_incoming.core.messages import Event, PendingEvent, Started
from airflow_incoming.services.asset_catalog import active_assets
from airflow_incoming.services.dag_catalog import DagState, dag_states


def run_id_of(event: Event) -> str:
    """Return the id of the DAG runs of an event, the same at every attempt."""
    return f"incoming__{event.integration}__{event.id}"


def user_of(event: Event) -> str:
    """Return who triggers the DAG runs of an event."""
    return f"incoming:{event.integration}"


def run_after_of(event: Event) -> datetime:
    """Return the earliest time of an event's runs: schedulers start queued runs in this order.

    First come, first served; and a receiver's clock that runs ahead delays nothing.
    """
    return min(event.received_at, datetime.now(timezone.utc))


def started_by(one: PendingEvent) -> tuple[Started, ...]:
    """Return what an event starts when every target of it is started."""
    runs = [Started(dag_id=dag_id, run_id=run_id_of(one.event)) for dag_id in one.configuration.dags]
    return (*runs, *(Started(asset=target) for target in one.configuration.assets))


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The targets of some events: states of the DAGs, runs that exist already, active assets."""

    run_ids: frozenset[str]
    dags: Mapping[str, DagState]
    runs: frozenset[tuple[str, str]]
    assets: Mapping[str, SerializedAssetUniqueKey]


NOTHING = Batch(run_ids=frozenset(), dags={}, runs=frozenset(), assets={})


def look_up(session: Session, pending: Sequence[PendingEvent]) -> Batch:
    """Return what there is: three statements, and none where no event has such targets."""
    dag_ids = {dag_id for one in pending for dag_id in one.configuration.dags}
    targets = {target for one in pending for target in one.configuration.assets}
    run_ids = frozenset(run_id_of(one.event) for one in pending)
    runs: frozenset[tuple[str, str]] = frozenset()
    if dag_ids:
        found = session.execute(
            select(DagRun.dag_id, DagRun.run_id).where(DagRun.dag_id.in_(dag_ids), DagRun.run_id.in_(run_ids))
        )
        runs = frozenset((dag_id, run_id) for dag_id, run_id in found)
    return Batch(
        run_ids=run_ids, dags=dag_states(session, dag_ids), runs=runs, assets=active_assets(session, targets)
    )
