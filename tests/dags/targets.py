"""DAGs that tests start."""

from __future__ import annotations

from airflow.sdk import Asset, Param, dag, task

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


@dag(dag_id="by_asset", schedule=[Asset("incoming://orders")], is_paused_upon_creation=False)
def by_asset():
    @task
    def nothing() -> None:
        pass

    nothing()


paused()
strict()
by_asset()
