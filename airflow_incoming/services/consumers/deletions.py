"""Runs that are gone: who has deleted one isn't to get another for the same asset events."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from airflow_incoming.services import airflow_tables as t
from airflow_incoming.services.consumers.moments import BY_ASSETS

#: What Airflow's audit log calls the deletion of one run, and what is done to many: some of it deletions.
ONE, MANY = "delete_dag_run", "bulk_dag_runs"
#: As the DAG of an entry: runs of any.
ANY = "~"

_run_id = re.compile(rf"{BY_ASSETS}__(\d{{4}}-\d\d-\d\dT[\d:.]+(?:[+-]\d\d:\d\d|Z))")


def deletions(connection: Connection, dag_ids: Collection[str], *, since: datetime) -> dict[str, datetime]:
    """Return up to which time asset events may have been in runs of each DAG that were deleted since then.

    As Airflow's audit log has it: a run that assets started has events up to the time in its id. So who
    deletes an old run, or one that was started by hand, forgets nothing that came later.
    """
    query = (
        select(t.log)
        .where(t.log.c.event.in_((ONE, MANY)), t.log.c.dttm >= since)
        .where(t.log.c.dag_id.in_(sorted({*dag_ids, ANY})))
    )
    found: dict[str, datetime] = {}
    for row in connection.execute(query):
        for dag_id, run_id in _deleted(row):
            if (upto := _time_of(run_id, row.dttm)) is not None:
                for each in dag_ids if dag_id == ANY else (dag_id,):
                    found[each] = max(upto, found.get(each, upto))
    return found


def _deleted(row: Row[Any]) -> Iterator[tuple[str, str | None]]:
    """Yield DAG and run of the runs that an entry of the audit log says were deleted; None: any of them."""
    if row.event == ONE:
        yield row.dag_id, row.run_id
        return
    try:
        actions = json.loads(row.extra or "{}").get("actions", [])
        deleting = [entity for one in actions if one["action"] == "delete" for entity in one["entities"]]
        for entity in deleting:
            if isinstance(entity, dict):
                yield entity.get("dag_id") or row.dag_id, entity["dag_run_id"]
            else:
                yield row.dag_id, str(entity)
    except (ValueError, LookupError, TypeError, AttributeError):  # as another release writes it
        yield row.dag_id, None


def _time_of(run_id: str | None, deleted_at: datetime) -> datetime | None:
    """Return up to which time a run had asset events; None where assets haven't started it."""
    if run_id is None:
        return deleted_at
    if (written := _run_id.match(run_id)) is None:
        return None
    try:
        return datetime.fromisoformat(written.group(1))
    except ValueError:  # somebody's own id
        return deleted_at


def oldest_runs(connection: Connection, dag_ids: Collection[str]) -> dict[str, datetime]:
    """Return the time of the oldest run by assets that is kept of each DAG.

    What is much older than that was in runs that ``airflow db clean`` has removed, without a word.
    """
    query = (
        select(t.run.c.dag_id, func.min(t.run.c.run_after).label("at"))
        .where(t.run.c.dag_id.in_(sorted(dag_ids)), t.run.c.run_type == BY_ASSETS)
        .group_by(t.run.c.dag_id)
    )
    return {row.dag_id: row.at for row in connection.execute(query)}
