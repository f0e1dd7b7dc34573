"""What the database says about the targets of some events when their batch begins."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from uuid import UUID

from airflow.models.asset import AssetModel
from airflow.models.dagrun import DagRun
from airflow.serialization.definitions.assets import SerializedAssetUniqueKey
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from airflow_incoming.core.messages import Event, PendingEvent, Started
from airflow_incoming.services.asset_catalog import active_assets, stored_uri
from airflow_incoming.services.dag_catalog import DagState, dag_states
from airflow_incoming.services.teams import Teams, enabled, expect_bound, teams_of
from airflow_incoming.stores import integrations


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
    """The targets of some events: states of the DAGs, runs that exist already, active assets.

    ``teams`` are those of the DAGs, where Airflow has any; ``bound`` those that versions remember.
    """

    run_ids: frozenset[str]
    dags: Mapping[str, DagState]
    runs: frozenset[tuple[str, str]]
    assets: Mapping[str, SerializedAssetUniqueKey]
    teams: Teams = field(default_factory=dict)
    bound: Mapping[UUID, Teams] = field(default_factory=dict)

    def expect_bound(self, event: Event, dag_id: str) -> None:
        """Raise DispatchFailed where a DAG isn't known to have the team of when its version was published."""
        if dag_id in self.teams:
            bound = self.bound.get(event.version_id)
            expect_bound(dag_id, self.teams[dag_id], bound, event.version_id)


NOTHING = Batch(run_ids=frozenset(), dags={}, runs=frozenset(), assets={})


def lock_assets(session: Session, targets: Collection[str]) -> None:
    """Keep other dispatchers from making events of these assets until the transaction ends.

    Airflow queues an asset's consumers in no certain order: two that queue the same ones would wait for
    each other in a circle. Locked by id, all assets of a transaction at once, they wait in a line. Foreign
    keys, so Airflow's own asset events, aren't kept waiting. On MySQL they would be; there, as on SQLite,
    which has one writer, nothing is locked.
    """
    if session.get_bind().dialect.name != "postgresql":
        return
    uris = {uri for target in targets for uri in (target, stored_uri(target))}
    query = (
        select(AssetModel.id)
        .where(or_(AssetModel.uri.in_(uris), AssetModel.name.in_(set(targets))))
        .order_by(AssetModel.id)
    )
    session.execute(query.with_for_update(key_share=True))


def look_up(session: Session, pending: Sequence[PendingEvent]) -> Batch:
    """Return what there is: three statements, and none where no event has such targets.

    Where Airflow has teams, two more.
    """
    dag_ids = {dag_id for one in pending for dag_id in one.configuration.dags}
    targets = {target for one in pending for target in one.configuration.assets}
    run_ids = frozenset(run_id_of(one.event) for one in pending)
    runs: frozenset[tuple[str, str]] = frozenset()
    if dag_ids:
        found = session.execute(
            select(DagRun.dag_id, DagRun.run_id).where(DagRun.dag_id.in_(dag_ids), DagRun.run_id.in_(run_ids))
        )
        runs = frozenset((dag_id, run_id) for dag_id, run_id in found)
    teams: Teams = {}
    bound: Mapping[UUID, Teams] = {}
    if dag_ids and enabled():
        teams = teams_of(session.connection(), dag_ids)
        bound = integrations.read_teams(session.connection(), {one.event.version_id for one in pending})
    return Batch(
        run_ids=run_ids,
        dags=dag_states(session, dag_ids),
        runs=runs,
        assets=active_assets(session, targets),
        teams=teams,
        bound=bound,
    )
