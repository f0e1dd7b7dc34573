"""A run for asset events that came too late for the run that looked back at their time."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime

from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import insert
from sqlalchemy.orm import Session

from airflow_incoming.services import airflow_tables as t

log = logging.getLogger(__name__)

#: Seconds until a DAG of which no run could be made is tried again.
RETRY = 60.0
#: When that was, and what the DAG's file held, by DAG.
_failed: dict[str, tuple[float, str]] = {}


def create_run(session: Session, dag_id: str, asset_event_ids: Sequence[int], *, run_after: datetime) -> bool:
    """Make the run that a scheduler would have made; tell whether that was possible.

    ``run_after``: the time of the last run. With that, what the next run looks back at stays as it is.
    The run is queued, however many are active: a scheduler starts it when ``max_active_runs`` allows it.
    A DAG of which none could be made is left alone for RETRY, or until it is changed. The caller has locked
    the DAG.
    """
    row = SerializedDagModel.get(dag_id, session=session)
    if row is None:
        return False
    failed_at, held = _failed.get(dag_id, (0.0, ""))
    if held == row.dag_hash and time.monotonic() < failed_at + RETRY:
        return False
    try:
        with session.begin_nested():
            run = row.dag.create_dagrun(
                run_id=DagRun.generate_run_id(
                    run_type=DagRunType.ASSET_TRIGGERED, logical_date=None, run_after=run_after
                ),
                logical_date=None,
                data_interval=None,
                run_after=run_after,
                run_type=DagRunType.ASSET_TRIGGERED,
                triggered_by=DagRunTriggeredByType.ASSET,
                state=DagRunState.QUEUED,
                session=session,
            )
            rows = [{"dag_run_id": run.id, "event_id": one} for one in asset_event_ids]
            session.connection().execute(insert(t.consumed), rows)
    except Exception:  # whatever is wrong with a DAG, others are asked for all the same
        log.exception("No run of DAG %s could be made for %d asset events", dag_id, len(asset_event_ids))
        _failed[dag_id] = (time.monotonic(), row.dag_hash)
        return False
    return True
