"""The rows of many DAG runs, written with one INSERT for the runs and one for their task instances.

Written for the releases of Airflow in ``trust.PROVEN``: import it there only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from types import SimpleNamespace
from typing import Any

from airflow._shared.observability.metrics import stats
from airflow._shared.observability.traces import (
    TASK_SPAN_DETAIL_LEVEL_KEY,
    new_dagrun_trace_carrier,
    new_task_run_carrier,
)
from airflow.models.dagrun import DagRun, dagrun_trace_attributes
from airflow.models.taskinstance import TaskInstance
from airflow.models.tasklog import LogTemplate
from sqlalchemy import Table, func, insert, select
from sqlalchemy.orm import Session

from airflow_incoming.core.messages import Event
from airflow_incoming.services.launch.lookup import run_after_of, run_id_of, user_of
from airflow_incoming.services.launch.plans import Plan

#: Rows that one INSERT has at most, so that a batch of large DAGs needs no large memory.
ROWS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """A run that is to be made of a plan."""

    event: Event
    conf: Mapping[str, Any]
    plan: Plan


def write(session: Session, planned: Sequence[PlannedRun]) -> None:
    """Write the runs and their task instances. Raises IntegrityError where one of them exists."""
    template = session.scalar(select(func.max(LogTemplate.id)))
    now = datetime.now(timezone.utc)
    runs = [_run_row(one, log_template_id=template or 0, queued_at=now) for one in planned]
    _insert(session, DagRun.__table__, iter(runs))
    _insert(session, TaskInstance.__table__, _task_rows(planned, runs))
    _count(planned)


def _run_row(one: PlannedRun, *, log_template_id: int, queued_at: datetime) -> dict[str, Any]:
    run_id = run_id_of(one.event)
    identity = {"dag_id": one.plan.run["dag_id"], "run_id": run_id, "run_type": one.plan.run["run_type"]}
    carrier = new_dagrun_trace_carrier(
        task_span_detail_level=one.conf.get(TASK_SPAN_DETAIL_LEVEL_KEY),
        attributes=dagrun_trace_attributes(SimpleNamespace(**identity)),
    )
    return {
        **one.plan.run,
        "run_id": run_id,
        "run_after": run_after_of(one.event),
        "conf": dict(one.conf),
        "triggering_user_name": user_of(one.event),
        "log_template_id": log_template_id,
        "queued_at": queued_at,
        "context_carrier": carrier,
    }


def _task_rows(planned: Sequence[PlannedRun], runs: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for one, run in zip(planned, runs, strict=True):
        for task in one.plan.tasks:
            carrier = new_task_run_carrier(run["context_carrier"])
            yield {**task, "run_id": run["run_id"], "context_carrier": carrier}


def _insert(session: Session, table: Table, rows: Iterator[dict[str, Any]]) -> None:
    # Ids and times that a row doesn't name are the columns' own defaults, as with Airflow's models.
    while some := list(islice(rows, ROWS)):
        session.connection().execute(insert(table), some)


def _count(planned: Sequence[PlannedRun]) -> None:
    """Tell Airflow's metrics how many task instances there are, as Airflow does for each run."""
    dags = Counter(str(one.plan.run["dag_id"]) for one in planned)
    plans = {str(one.plan.run["dag_id"]): one.plan for one in planned}
    for dag_id, runs in dags.items():
        for task_type, tasks in plans[dag_id].task_types.items():
            tags = {**plans[dag_id].tags, "task_type": task_type}
            stats.incr("task_instance_created", runs * tasks, tags=tags)
