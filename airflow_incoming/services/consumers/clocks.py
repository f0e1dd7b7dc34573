"""Runs of a DAG that a wrong clock has given a run, or an entry in the queue, of the future.

Whatever comes after that would have to be still later for a scheduler to tell it from old, and no run starts
before its time. Asked for at its own time, a scheduler would give it the events of that run once more.
So a run of exactly what waits is made.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, exists, func, select
from sqlalchemy.orm import Session

from airflow_incoming.services import airflow_tables as t
from airflow_incoming.services.consumers.conditions import is_met
from airflow_incoming.services.consumers.moments import BY_ASSETS
from airflow_incoming.services.consumers.runs import create_run
from airflow_incoming.services.consumers.undelivered import LOOKED_AT, Undelivered
from airflow_incoming.stores import unconsumed


def run_at_once(session: Session, dag_id: str, undelivered: Undelivered, now: datetime) -> None:
    """Make a run, of now, that gets what a DAG waits for, and what the queue asks for beside it.

    Where that isn't enough for its condition, it waits for the other assets. The caller has locked the DAG.
    """
    connection = session.connection()
    waiting = undelivered.unsettled
    if not is_met(connection, dag_id, {one.asset_id for one in waiting} | set(undelivered.queued)):
        return
    ids = dict.fromkeys([one.id for one in waiting] + _asked_for(connection, dag_id, now))
    if create_run(session, dag_id, list(ids), run_after=now):
        unconsumed.remove(connection, dag_id, [one.id for one in waiting])
        connection.execute(delete(t.queue).where(t.queue.c.target_dag_id == dag_id))


def _asked_for(connection: Connection, dag_id: str, now: datetime) -> list[int]:
    """Return what a scheduler would give a DAG for its queue, anybody's, but for what a run has already."""
    event = t.asset_event
    before = select(func.max(t.run.c.run_after)).where(
        t.run.c.dag_id == dag_id, t.run.c.run_type == BY_ASSETS, t.run.c.run_after < now
    )
    begun = select(func.min(t.reference.c.created_at)).where(t.reference.c.dag_id == dag_id)
    got = exists().where(
        t.consumed.c.event_id == event.c.id,
        t.run.c.id == t.consumed.c.dag_run_id,
        t.run.c.dag_id == dag_id,
    )
    query = (
        select(event.c.id)
        .join(t.queue, t.queue.c.asset_id == event.c.asset_id)
        .where(t.queue.c.target_dag_id == dag_id, event.c.partition_key.is_(None), ~got)
        .where(event.c.timestamp > func.coalesce(before.scalar_subquery(), begun.scalar_subquery()))
        .where(event.c.timestamp <= now)
        .order_by(event.c.timestamp, event.c.id)
        .limit(LOOKED_AT)
    )
    return list(connection.scalars(query))
