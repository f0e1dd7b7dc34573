"""Times by which a scheduler tells new asset events from old ones, and the lock that keeps them so."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, union

from airflow_incoming.services import airflow_tables as t

#: What all databases tell apart.
TICK = timedelta(microseconds=1)
#: How much clocks may differ: what is further ahead of now hides nothing.
AHEAD = timedelta(minutes=1)
#: The type of the runs by whose times Airflow's scheduler goes.
BY_ASSETS = "asset_triggered"


def lock_dags(connection: Connection, dag_ids: Collection[str]) -> set[str]:
    """Keep schedulers from making runs of some DAGs until the transaction ends; return of which.

    Never waits: a DAG that somebody else has locked, or that is gone, is not among them. On SQLite
    nothing has to be locked, because the transaction itself keeps others from writing.
    """
    if connection.dialect.name == "sqlite":
        return set(dag_ids)
    query = select(t.dag.c.dag_id).where(t.dag.c.dag_id.in_(sorted(dag_ids))).order_by(t.dag.c.dag_id)
    # As schedulers lock them; with key_share who queues a DAG is not kept from it.
    return set(connection.scalars(query.with_for_update(key_share=True, skip_locked=True)))


def newest_run(connection: Connection, dag_ids: Collection[str], *, since: datetime) -> datetime | None:
    """Return the time of the latest run that assets have started of these DAGs, if not before ``since``.

    The index of times knows it: with a DAG of many other runs, no look at all of them.
    """
    query = select(func.max(t.run.c.run_after)).where(
        t.run.c.run_after >= since, t.run.c.dag_id.in_(sorted(dag_ids)), t.run.c.run_type == BY_ASSETS
    )
    found: datetime | None = connection.scalar(query)
    return found


def next_moment(connection: Connection, dag_ids: Collection[str], now: datetime) -> datetime:
    """Return ``now``, or the first time that is later than every run and every entry of the queue.

    So a clock that is behind, or another host's that is ahead, makes no event old before a run had it,
    and no run look back beyond the run before it. Never more than AHEAD of now, because no run starts
    before its time: what has to be done about DAGs that are further ``ahead``, others know.
    """
    queued = connection.scalar(
        select(func.max(t.queue.c.created_at)).where(t.queue.c.target_dag_id.in_(sorted(dag_ids)))
    )
    newest = newest_run(connection, dag_ids, since=now)
    latest = [moment + TICK for moment in (newest, queued) if moment is not None]
    return min(max([now, *latest]), now + AHEAD)


def ahead(connection: Connection, dag_ids: Collection[str], now: datetime) -> set[str]:
    """Return the DAGs that have a run, or an entry in the queue, more than AHEAD of now: by a wrong clock."""
    runs = select(t.run.c.dag_id).where(
        t.run.c.run_after > now + AHEAD, t.run.c.dag_id.in_(sorted(dag_ids)), t.run.c.run_type == BY_ASSETS
    )
    entries = select(t.queue.c.target_dag_id).where(
        t.queue.c.created_at > now + AHEAD, t.queue.c.target_dag_id.in_(sorted(dag_ids))
    )
    return set(connection.scalars(union(runs, entries)))
