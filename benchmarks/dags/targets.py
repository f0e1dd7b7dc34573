"""What the events of the measurements start: DAGs of one task and of ten."""

from __future__ import annotations

from airflow.sdk import DAG, chain, task


@task
def nothing() -> None:
    pass


for name, size in (("one", 1), ("ten", 10)):
    with DAG(name, schedule=None, is_paused_upon_creation=False):
        chain(*(nothing.override(task_id=f"task_{number}")() for number in range(size)))
