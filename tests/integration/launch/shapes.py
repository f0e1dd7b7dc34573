"""DAGs of every shape: those that can be started together, and one of each kind that can't."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, BaseSensorOperator, Param, TaskGroup, setup, task, task_group, teardown
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.task.priority_strategy import PriorityWeightStrategy
from airflow.task.trigger_rule import TriggerRule

SINCE = datetime(2026, 1, 1, tzinfo=timezone.utc)


async def too_late() -> None:
    """Do nothing about a missed deadline."""


def nothing() -> None:
    """Do nothing."""


class Waiting(BaseSensorOperator):
    """A sensor."""

    def poke(self, context: Any) -> bool:
        """Wait for nothing."""
        return True


class Heaviest(PriorityWeightStrategy):
    """A strategy of somebody's own, which may look at the run."""

    def get_weight(self, ti: Any) -> int:
        """Return the same for all."""
        return 99


def chain() -> None:
    first, second = EmptyOperator(task_id="first"), EmptyOperator(task_id="second")
    last = EmptyOperator(task_id="last", trigger_rule=TriggerRule.ONE_FAILED)
    first >> second >> last
    first >> last


def groups() -> None:
    with TaskGroup("outer"):
        EmptyOperator(task_id="one")
        with TaskGroup("inner", prefix_group_id=False):
            EmptyOperator(task_id="two") >> EmptyOperator(task_id="three")


def set_up() -> None:
    @setup
    def begin() -> None: ...

    @teardown(on_failure_fail_dagrun=True)
    def end() -> None: ...

    @task
    def work() -> None: ...

    begin() >> work() >> end()


def weights() -> None:
    for rule in ("downstream", "upstream", "absolute"):
        one = EmptyOperator(task_id=f"{rule}_1", weight_rule=rule, priority_weight=2)
        two = EmptyOperator(task_id=f"{rule}_2", weight_rule=rule, priority_weight=3)
        one >> two >> EmptyOperator(task_id=f"{rule}_3", weight_rule=rule, priority_weight=5)


def particular() -> None:
    BashOperator(
        task_id="bash",
        bash_command="true",
        pool="small",
        pool_slots=3,
        queue="slow",
        priority_weight=7,
        retries=4,
        retry_delay=timedelta(seconds=1),
        run_as_user="nobody",
        executor_config={"memory": "1G", "nested": {"labels": ["a", "b"]}},
        executor="LocalExecutor",
        execution_timeout=timedelta(hours=1),
        max_active_tis_per_dag=1,
        task_display_name="The one that is shown",
        doc_md="# Read me",
        start_date=SINCE,
        end_date=SINCE + timedelta(days=1),
        depends_on_past=True,
        on_failure_callback=lambda _: None,
        map_index_template="{{ x }}",
    )
    PythonOperator(task_id="python", python_callable=nothing)
    Waiting(task_id="sensor", mode="reschedule")
    BranchPythonOperator(task_id="branch", python_callable=lambda: "python") >> EmptyOperator(task_id="end")
    TriggerDagRunOperator(task_id="other", trigger_dag_id="one_task", wait_for_completion=True)


def decorated() -> None:
    @task
    def extract() -> dict[str, int]:
        return {"a": 1}

    @task.branch
    def choose(data: dict[str, int]) -> str:
        return "load"

    @task(multiple_outputs=True)
    def load() -> dict[str, int]:
        return {}

    choose(extract()) >> load()


def outlets() -> None:
    EmptyOperator(task_id="only", outlets=[Asset("parcels")], inlets=[Asset("letters")])


def only() -> None:
    EmptyOperator(task_id="only")


def no_tasks() -> None:
    """A DAG may be empty."""


def mapped_by_list() -> None:
    EmptyOperator(task_id="before") >> BashOperator.partial(task_id="each").expand(bash_command=["a", "b"])


def mapped_by_nothing() -> None:
    BashOperator.partial(task_id="each").expand(bash_command=[])


def mapped_by_task() -> None:
    @task
    def numbers() -> list[int]:
        return [1, 2]

    @task
    def show(number: int) -> None: ...

    show.expand(number=numbers())


def mapped_group() -> None:
    @task_group
    def each(number: int) -> None:
        @task
        def show(number: int) -> None: ...

        show(number) >> EmptyOperator(task_id="after")

    each.expand(number=[1, 2, 3])


def weight_of_their_own() -> None:
    EmptyOperator(task_id="only", weight_rule=Heaviest())


_DEADLINE = DeadlineAlert(
    reference=DeadlineReference.DAGRUN_QUEUED_AT,
    interval=timedelta(hours=1),
    callback=AsyncCallback(too_late),
)
_PARAMS = {"order.id": Param(1, type="integer"), "note": "x"}

#: What a DAG is made of, and its options.
Shape = tuple[Callable[[], None], dict[str, Any]]

PLAIN: dict[str, Shape] = {
    "plain": (only, {}),
    "chain": (chain, {}),
    "groups": (groups, {}),
    "set_up": (set_up, {}),
    "weights": (weights, {}),
    "particular": (particular, {}),
    "decorated": (decorated, {}),
    "outlets": (outlets, {}),
    "no_tasks": (no_tasks, {}),
    "params": (only, {"params": _PARAMS}),
    "on_asset": (only, {"schedule": [Asset("letters")]}),
    "daily": (only, {"schedule": "@daily", "start_date": SINCE, "catchup": True}),
    "ended": (only, {"schedule": "@daily", "start_date": SINCE, "end_date": SINCE + timedelta(days=2)}),
    "one_at_a_time": (only, {"max_active_runs": 1, "max_active_tasks": 1}),
    "sleeping": (only, {"is_paused_upon_creation": True}),
    "hurried": (only, {"dagrun_timeout": timedelta(minutes=1), "fail_fast": True}),
    "shown": (only, {"dag_display_name": "Ukázka", "tags": ["a"], "doc_md": "# Read", "description": "d"}),
    "native": (only, {"render_template_as_native_obj": True, "default_args": {"retries": 9, "owner": "me"}}),
    "called_back": (only, {"on_failure_callback": nothing, "on_success_callback": nothing}),
    "unversioned": (only, {"disable_bundle_versioning": True}),
}

SPECIAL: dict[str, Shape] = {
    "mapped_by_list": (mapped_by_list, {}),
    "mapped_by_nothing": (mapped_by_nothing, {}),
    "mapped_by_task": (mapped_by_task, {}),
    "mapped_group": (mapped_group, {}),
    "weight_of_their_own": (weight_of_their_own, {}),
    "deadline": (only, {"deadline": _DEADLINE}),
}


def make(name: str, shape: Shape) -> DAG:
    """Return a DAG of a shape, named after it."""
    build, options = shape
    with DAG(f"shape_{name}", **{"schedule": None, **options}) as made:
        build()
    return made
