"""Which DAGs hold nothing special, and what is the same in every run of such a DAG.

Written for the releases of Airflow in ``trust.PROVEN``: import it there only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from weakref import WeakKeyDictionary

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.serialization.definitions.baseoperator import SerializedBaseOperator
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.task.priority_strategy import get_airflow_priority_weight_strategies
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import inspect

from airflow_incoming.services.dag_catalog import DagState


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The columns that all runs of one version of a DAG share, by name; its tasks by their type."""

    run: Mapping[str, Any]
    tasks: tuple[Mapping[str, Any], ...]
    task_types: Mapping[str, int]
    tags: Mapping[str, str]


class Plans:
    """The plans of the structures that a launcher keeps; forgotten together with them."""

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[SerializedDAG, tuple[object, Plan | None]] = WeakKeyDictionary()

    def plan(self, dag: SerializedDAG, state: DagState) -> Plan | None:
        """Return the plan of a structure; None where Airflow itself has to make its runs."""
        key = (state.version_id, state.bundle_version)
        made, plan = self._made.get(dag, (None, None))
        if made != key:
            plan = _make(dag, state) if is_plain(dag) else None
            self._made[dag] = (key, plan)
        return plan


def is_plain(dag: SerializedDAG) -> bool:
    """Tell whether every run of a DAG gets the same rows, one for the run and one for each task."""
    return (
        type(dag) is SerializedDAG and not dag.deadline and all(map(_is_plain_task, dag.task_dict.values()))
    )


def _is_plain_task(task: Any) -> bool:
    # Mapped tasks are of another type, and may have as many instances as an upstream task says. A
    # strategy of somebody's own may look at the run.
    return (
        type(task) is SerializedBaseOperator
        and task.get_closest_mapped_task_group() is None
        and type(task.weight_rule) in get_airflow_priority_weight_strategies().values()
    )


def _make(dag: SerializedDAG, state: DagState) -> Plan:
    run = DagRun(
        dag_id=dag.dag_id,
        run_id="planned",
        run_after=datetime.now(timezone.utc),
        state=DagRunState.QUEUED,
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.REST_API,
        bundle_version=None if dag.disable_bundle_versioning else state.bundle_version,
    )
    run.created_dag_version_id = state.version_id
    tasks = [
        TaskInstance.insert_mapping(
            run.run_id, task, map_index=-1, dag_version_id=state.version_id, dag_run=run
        )
        for task in dag.task_dict.values()
    ]
    return Plan(
        run=_columns(DagRun, inspect(run).dict),
        tasks=tuple(_columns(TaskInstance, task) for task in tasks),
        task_types=Counter(task.task_type for task in dag.task_dict.values()),
        tags=run.stats_tags,
    )


def _columns(model: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by the name of their column, without those that have none."""
    attributes = {attribute.key: attribute.columns[0].name for attribute in inspect(model).column_attrs}
    return {attributes[name]: value for name, value in values.items() if name in attributes}
