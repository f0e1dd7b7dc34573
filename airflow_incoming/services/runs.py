"""What Airflow says about the DAG runs that events started, read from its own tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select

from airflow_incoming.core.conf import conf_in
from airflow_incoming.core.messages import Started
from airflow_incoming.services import airflow_tables as t
from airflow_incoming.services.watchers import BY_USERS, event_named_by

#: States that a run stays in.
ENDED = frozenset({"success", "failed", "deleted"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """An event that an asset event names, and the URI and name of the asset.

    ``integration``: where a watcher has made the asset event, the one that the watcher listens to.
    """

    event_id: UUID
    uri: str
    name: str
    integration: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One DAG run and its state in Airflow; ``deleted`` where Airflow doesn't have it any more."""

    dag_id: str
    run_id: str
    state: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    is_paused: bool = False

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing more is to be expected of it."""
        return self.state in ENDED


def states_of(connection: Connection, started: Sequence[Started]) -> dict[tuple[str, str], Run]:
    """Return the runs of some events by DAG id and run id; those that are gone, too."""
    wanted = {(one.dag_id, one.run_id) for one in started if one.dag_id and one.run_id}
    if not wanted:
        return {}
    dag_ids = sorted({dag_id for dag_id, _ in wanted if dag_id})
    run_ids = sorted({run_id for _, run_id in wanted if run_id})
    query = (
        select(
            t.run.c.dag_id,
            t.run.c.run_id,
            t.run.c.state,
            t.run.c.start_date,
            t.run.c.end_date,
            t.dag.c.is_paused,
        )
        .select_from(t.run.outerjoin(t.dag, t.dag.c.dag_id == t.run.c.dag_id))
        .where(t.run.c.dag_id.in_(dag_ids), t.run.c.run_id.in_(run_ids))
    )
    found = {
        (row.dag_id, row.run_id): Run(
            dag_id=row.dag_id,
            run_id=row.run_id,
            state=row.state or "queued",
            started_at=row.start_date,
            ended_at=row.end_date,
            is_paused=bool(row.is_paused),
        )
        for row in connection.execute(query)
    }
    return {
        (dag_id, run_id): found.get((dag_id, run_id)) or Run(dag_id=dag_id, run_id=run_id, state="deleted")
        for dag_id, run_id in wanted
        if dag_id and run_id
    }


def scheduling_assets(connection: Connection, dag_id: str) -> set[str]:
    """Return the URIs and names of the assets whose events start a DAG."""
    query = (
        select(t.asset.c.uri, t.asset.c.name)
        .select_from(t.asset.join(t.reference, t.reference.c.asset_id == t.asset.c.id))
        .where(t.reference.c.dag_id == dag_id)
    )
    return {text for row in connection.execute(query) for text in (row.uri, row.name)}


def claimed_by_assets(connection: Connection, dag_id: str, run_id: str, *, limit: int) -> list[Claimed]:
    """Return the events named by the newest asset events that started a run.

    Whoever may create asset events may name any event, so ask the event whether it is true.
    """
    query = (
        select(t.asset_event.c.extra, t.asset_event.c.source_dag_id, t.asset.c.uri, t.asset.c.name)
        .select_from(
            t.run.join(t.consumed, t.consumed.c.dag_run_id == t.run.c.id)
            .join(t.asset_event, t.asset_event.c.id == t.consumed.c.event_id)
            .join(t.asset, t.asset.c.id == t.asset_event.c.asset_id)
        )
        .where(t.run.c.dag_id == dag_id, t.run.c.run_id == run_id)
        .order_by(t.asset_event.c.id.desc())
        .limit(limit)
    )
    found = []
    for row in connection.execute(query):
        conf, by_watcher = conf_in(row.extra)
        event_id = event_named_by(conf)
        # Airflow marks what its API and its tasks have made: they may write the same.
        forged = by_watcher and (BY_USERS in row.extra or row.source_dag_id is not None)
        if event_id is not None and not forged:
            integration = conf.get("_incoming.integration") if by_watcher else None
            found.append(Claimed(event_id=event_id, uri=row.uri, name=row.name, integration=integration))
    return found


def emits_one_of(targets: Sequence[str], assets: Collection[str]) -> bool:
    """Tell whether one of an integration's target assets is among these URIs and names."""
    # Airflow's asset models, which the receivers have no need to load.
    from airflow_incoming.services.asset_catalog import stored_uri

    return any(target in assets or stored_uri(target) in assets for target in targets)
