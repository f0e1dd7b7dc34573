"""DAGs that tests start."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Asset, Param, TaskGroup, dag, setup, task, teardown
from airflow.sdk.types import DagRunProtocol

for name in ("one", "two"):

    @dag(dag_id=name, schedule=None, is_paused_upon_creation=False)
    def plain():
        @task
        def nothing() -> None:
            pass

        nothing()

    plain()


@dag(dag_id="paused", schedule=None, is_paused_upon_creation=True)
def paused():
    @task
    def nothing() -> None:
        pass

    nothing()


@dag(
    dag_id="strict",
    schedule=None,
    is_paused_upon_creation=False,
    params={"order.id": Param(1, type="integer", minimum=1)},
)
def strict():
    @task
    def nothing() -> None:
        pass

    nothing()


@dag(dag_id="pipeline", schedule=None, is_paused_upon_creation=False, params={"order.id": 1, "note": "none"})
def pipeline():
    """Something of everything that runs of many events may be made together of."""

    @setup
    def begin() -> None:
        pass

    @task
    def read(params: dict | None = None, dag_run: DagRunProtocol | None = None) -> str:
        assert params is not None
        assert dag_run is not None
        assert params["order.id"] == dag_run.conf["order.id"]
        return f"{params['order.id']} {params['note']}"

    @task(trigger_rule="none_failed")
    def write(text: str) -> str:
        return text

    @teardown
    def end() -> None:
        pass

    with TaskGroup("work"):
        text = read()
        written = write(text)
        written >> EmptyOperator(task_id="nothing")
    first, last = begin(), end()
    first >> text
    written >> last
    first >> last


@dag(dag_id="by_asset", schedule=[Asset("incoming://orders")], is_paused_upon_creation=False)
def by_asset():
    @task
    def nothing() -> None:
        pass

    nothing()


paused()
strict()
pipeline()
by_asset()
