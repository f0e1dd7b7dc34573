"""Entries of Airflow's queue, which ask for runs."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from airflow.assets.manager import AssetManager, asset_manager
from airflow.configuration import conf
from sqlalchemy import Connection, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from airflow_incoming.services import airflow_tables as t


def ask(connection: Connection, pairs: Collection[tuple[int, str]], moment: datetime) -> None:
    """Ask for runs, each for an asset and a DAG, at one time: the later one where that was asked already.

    So it is if ``moment`` is the next one.
    """
    rows = [{"asset_id": one, "target_dag_id": dag_id, "created_at": moment} for one, dag_id in sorted(pairs)]
    connection.execute(_queueing(connection.dialect.name), rows)


def lost(connection: Connection, asset_ids: Collection[int]) -> set[tuple[int, str]]:
    """Return the assets and DAGs that Airflow has just queued, and that a scheduler has taken since.

    None where an asset manager of somebody's own, or teams, may have kept Airflow from it; then the sweep
    finds what no entry asks for.
    """
    if type(asset_manager) is not AssetManager or conf.getboolean("core", "multi_team", fallback=False):
        return set()
    query = (
        select(t.reference.c.asset_id, t.reference.c.dag_id)
        .join(t.dag, t.dag.c.dag_id == t.reference.c.dag_id)
        .outerjoin(
            t.queue,
            (t.queue.c.asset_id == t.reference.c.asset_id)
            & (t.queue.c.target_dag_id == t.reference.c.dag_id),
        )
        .where(t.reference.c.asset_id.in_(sorted(asset_ids)), t.queue.c.target_dag_id.is_(None))
        .where(t.dag.c.is_paused.is_(False), t.dag.c.timetable_partitioned.is_(False))
    )
    return {(row.asset_id, row.dag_id) for row in connection.execute(query)}


def _queueing(dialect: str) -> Any:
    if dialect == "mysql":
        statement = mysql.insert(t.queue)
        return statement.on_duplicate_key_update(created_at=statement.inserted.created_at)
    upsert = (postgresql if dialect == "postgresql" else sqlite).insert(t.queue)
    return upsert.on_conflict_do_update(
        index_elements=["asset_id", "target_dag_id"], set_={"created_at": upsert.excluded.created_at}
    )
