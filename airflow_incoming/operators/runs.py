"""DAG runs by way of the execution API, which is all that a task has of Airflow's database."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_incoming.core.errors import IncomingError

if TYPE_CHECKING:
    from airflow.sdk.exceptions import AirflowRuntimeError


_INVALID = re.compile(r"Invalid input for param (?P<name>[^\n]+?): (?P<why>.*)", re.DOTALL)
#: What Airflow answers to a run that it will not make. Anything else may come from a proxy, or be about a
#: second try of its client: then the first one may still be on its way.
_REFUSALS = frozenset(
    {
        *("not_found", "import_errors", "denied_run_type", "value_error", "invalid"),
        *("not_partitioned", "invalid_partition_key"),
    }
)
_RULE = re.compile(r"^Failed validating ('[^'\n]+') in schema", re.MULTILINE)


class RunRefused(IncomingError):
    """Airflow refuses to make this DAG run.

    Nothing was triggered.
    """

    code = "run_refused"


class PayloadRefused(RunRefused):
    """The params of the DAG refuse the payload.

    Another try with the same payload can't help.
    """

    code = "payload_refused"


class RunUncertain(IncomingError):
    """Airflow's API server gave no clear answer; a retry finds out whether the DAG run exists."""

    code = "run_uncertain"


def create_run(dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
    """Make a DAG run; False where it exists already. Raises RunRefused, PayloadRefused, RunUncertain."""
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    try:
        answer = SUPERVISOR_COMMS.send(TriggerDagRun(dag_id=dag_id, run_id=run_id, conf=conf))
    except AirflowRuntimeError as error:
        translated = _translated(dag_id, error)
        # What Airflow says of a refusal repeats values of the payload, which are nothing for a log.
        raise translated from (None if isinstance(translated, PayloadRefused) else error)
    return not (isinstance(answer, ErrorResponse) and answer.error == ErrorType.DAGRUN_ALREADY_EXISTS)


def exists(dag_id: str, run_id: str) -> bool:
    """Tell whether there is such a DAG run. Raises RunUncertain.

    Works also after a timeout has interrupted :func:`create_run`: its answer comes first then.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.comms import DRCount, GetDRCount
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    said: object = None
    for _ in range(2):
        try:
            said = SUPERVISOR_COMMS.send(GetDRCount(dag_id=dag_id, run_ids=[run_id]))
        except AirflowRuntimeError as error:
            said = error
        if isinstance(said, DRCount):
            return said.count > 0
    raise RunUncertain(f"Airflow's API server can't tell whether run {run_id} exists: {said}")


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
    reason, said = _reason(detail), _said(detail)
    if reason == "not_found":
        return RunRefused(
            f"There is no DAG {dag_id!r}, or the DAG processor has not parsed it yet. Check trigger_dag_id."
        )
    if refused := _INVALID.match(said):
        return PayloadRefused(
            f"The params of DAG {dag_id!r} refuse the payload: {refused['name']} "
            f"{_broken_rule(refused['why'])}. Send other data, or change the param."
        )
    if reason in _REFUSALS:
        return RunRefused(f"Airflow refuses a run of DAG {dag_id!r}: {said}")
    return RunUncertain(
        f"Airflow's API server didn't say that it made a run of DAG {dag_id!r} ({said}). Retry this "
        "task; if it goes on, the server's log tells why."
    )


def _broken_rule(why: str) -> str:
    """Return what is wrong without the value that Airflow shows, too."""
    if why.startswith("No value passed"):
        return "is missing"
    rule = _RULE.search(why)
    return f"breaks its rule {rule[1]}" if rule else "breaks its rules"


def _reason(detail: dict[str, Any]) -> str:
    """Return why Airflow itself refuses a run; "" where it isn't that which speaks."""
    inner = _innermost(detail)
    if isinstance(inner, list):
        return "invalid"
    return str(inner.get("reason", "")) if isinstance(inner, dict) else ""


def _said(detail: dict[str, Any]) -> str:
    inner = _innermost(detail)
    said = inner.get("message") if isinstance(inner, dict) else None
    return str(said or detail.get("message") or detail)


def _innermost(detail: dict[str, Any]) -> Any:
    inner = detail.get("detail")
    while isinstance(inner, dict) and isinstance(inner.get("detail"), dict | list):
        inner = inner["detail"]
    return inner
