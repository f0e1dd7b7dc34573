"""DAGs that take an event in each way that there is, and write down what they got."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, Context, dag, task

from airflow_incoming.operators import (
    IncomingTriggerDagRunOperator,
    WaitForIncomingEventOperator,
    incoming_event,
    incoming_events,
)
from airflow_incoming.triggers import IncomingEventTrigger

AGAIN = {"retries": 2, "retry_delay": timedelta(0)}
ANY: dict[str, Any] = {"is_paused_upon_creation": False, "default_args": AGAIN, "max_active_runs": 100}


def write(way: str, event_id: str, got: Any) -> None:
    """Leave what was got where the test finds it."""
    folder = Path(os.environ["AIRFLOW_HOME"]) / "values" / way
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{event_id}.{os.getpid()}"
    file.write_text(json.dumps(got))
    file.rename(folder / f"{event_id}.json")


def conf_of(event: Any) -> dict[str, Any]:
    headers = {f"_incoming.headers.{name}": value for name, value in event.headers.items()}
    return {**event.data, **headers}


@task(multiple_outputs=False)  # which would make an XCom of each parameter, with its name in a URL
def from_conf(way: str) -> dict[str, Any]:
    event = incoming_event()
    write(way, event.event_id, conf_of(event))
    return conf_of(event)  # and so through XCom


@task
def passed_on(way: str, got: dict[str, Any], **context: Any) -> None:
    write(f"{way}-xcom", context["dag_run"].conf["_incoming.event_id"], got)


@task
def from_assets(way: str) -> None:
    for event in incoming_events():
        write(way, event.event_id, conf_of(event))


@task
def waited(got: dict[str, Any]) -> None:
    write("waited", got["_incoming.event_id"], got)


def failed(context: Context) -> None:
    """Runs in the DAG processor, which gets the run with its conf for it."""
    write("callback", context["dag_run"].conf["_incoming.event_id"], "called")


@dag(dag_id="values_by_conf", schedule=None, on_failure_callback=failed, **ANY)
def values_by_conf():
    @task(retries=0)
    def fails() -> None:
        raise RuntimeError("so that the callback is called")

    passed_on("conf", from_conf("conf")) >> fails()


@dag(dag_id="values_sent", schedule=None, **ANY)
def values_sent():
    from_conf("sent")


@dag(dag_id="values_send", schedule=None, **ANY)
def values_send():
    IncomingTriggerDagRunOperator(
        task_id="send",
        trigger_dag_id="values_sent",
        payload_file="{{ dag_run.conf['path'] }}",
        headers={"x-case": "{{ dag_run.conf['case'] }}"},
    )


@dag(dag_id="values_send_numbers", schedule=None, **ANY)
def values_send_numbers():
    """Values of Python in fields that are rendered, which Airflow carries before any task of ours runs."""
    IncomingTriggerDagRunOperator(
        task_id="send", trigger_dag_id="values_sent", payload={"n": 2**64, "m": [1e20]}
    )


@dag(dag_id="values_wait", schedule=None, **ANY)
def values_wait():
    wait = WaitForIncomingEventOperator(
        task_id="wait",
        integration="values",
        where={"header.x-case": "{{ dag_run.conf['case'] }}"},
        look_back=timedelta(minutes=10),
    )
    waited(wait.output)


for name, rendered in {"values_find_text": False, "values_find_native": True}.items():
    with DAG(name, schedule=None, render_template_as_native_obj=rendered, **ANY):
        WaitForIncomingEventOperator(
            task_id="wait",
            integration="values",
            where={"like": "{{ dag_run.conf['like'] }}", "value": "{{ dag_run.conf['value'] }}"},
        )

with DAG("values_find_number", schedule=None, **ANY):
    WaitForIncomingEventOperator(task_id="wait", integration="values", where={"find": 2**64})

for name, asset in {
    "values_by_asset": Asset("incoming://values"),
    "values_by_watcher": Asset(
        "values-watched", watchers=[AssetWatcher(name="values", trigger=IncomingEventTrigger("values"))]
    ),
}.items():
    with DAG(name, schedule=[asset], **ANY):
        from_assets(name)

for make in (values_by_conf, values_sent, values_send, values_send_numbers, values_wait):
    make()
