"""DAG runs by way of the execution API, which is all that a task has of Airflow's database."""

from __future__ import annotations

import time
from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_incoming.core.errors import IncomingError

if TYPE_CHECKING:
    from airflow.sdk.exceptions import AirflowRuntimeError


class RunRefused(IncomingError):
    """Airflow refuses to make this DAG run.

    Nothing was triggered.
    """

    code = "run_refused"


class RunUncertain(IncomingError):
    """Airflow's API server gave no clear answer; a retry finds out whether the DAG run exists."""

    code = "run_uncertain"


def create_run(dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
    """Make a DAG run; False where it exists already. Raises RunRefused and RunUncertain."""
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    try:
        answer = SUPERVISOR_COMMS.send(TriggerDagRun(dag_id=dag_id, run_id=run_id, conf=conf))
    except AirflowRuntimeError as error:
        raise _translated(dag_id, error) from error
    return not (isinstance(answer, ErrorResponse) and answer.error == ErrorType.DAGRUN_ALREADY_EXISTS)


def exists(dag_id: str, run_id: str) -> bool:
    """Tell whether there is such a DAG run. Raises RunUncertain."""
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    try:
        return RuntimeTaskInstance.get_dr_count(dag_id, run_ids=[run_id]) > 0
    except AirflowRuntimeError as error:
        raise RunUncertain(f"Airflow's API server can't tell whether run {run_id} exists: {error}") from error


def await_state(dag_id: str, run_id: str, states: Collection[str], *, every: float) -> str:
    """Ask every so many seconds until the run is in one of these states, and return it."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    while (state := plain_state(RuntimeTaskInstance.get_dagrun_state(dag_id, run_id))) not in states:
        time.sleep(every)
    return state


def plain_state(state: object) -> str:
    """Return the text of a state; Airflow's own enumerations write themselves differently."""
    return str(state.value if isinstance(state, Enum) else state)


def run_url(dag_id: str, run_id: str) -> str:
    """Return the address of a DAG run's page."""
    from airflow.sdk.configuration import conf

    base = conf.get("api", "base_url", fallback="") or ""
    return f"{base.rstrip('/')}/dags/{quote(dag_id)}/runs/{quote(run_id)}"


def _translated(dag_id: str, error: AirflowRuntimeError) -> IncomingError:
    detail = error.error.detail or {}
    status = detail.get("status_code")
    if status == 404:
        return RunRefused(
            f"There is no DAG {dag_id!r}, or the DAG processor has not parsed it yet. Check trigger_dag_id."
        )
    if isinstance(status, int) and 400 <= status < 500:
        return RunRefused(f"Airflow refuses a run of DAG {dag_id!r}: {_said(detail)}")
    return RunUncertain(
        f"Airflow's API server didn't say that it made a run of DAG {dag_id!r} ({_said(detail)}). Retry this "
        "task; if it goes on, the server's log tells why."
    )


def _said(detail: dict[str, Any]) -> str:
    inner = detail.get("detail")
    while isinstance(inner, dict) and isinstance(inner.get("detail"), dict):
        inner = inner["detail"]
    said = inner.get("message") if isinstance(inner, dict) else None
    return str(said or detail.get("message") or detail)
