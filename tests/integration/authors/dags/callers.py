"""DAGs that trigger, and DAGs that are triggered."""

from __future__ import annotations

import time
from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, dag, get_current_context, task

from airflow_incoming.operators import IdentifyCustomerOperator, IncomingTriggerDagRunOperator, incoming_event

ANY = {"schedule": None, "is_paused_upon_creation": False}
#: A busy scheduler may fail a task that goes on before the scheduler has seen that it was deferred.
AGAIN = {"retries": 2, "retry_delay": timedelta(0)}


@dag(dag_id="sink", **ANY)
def sink():
    EmptyOperator(task_id="nothing")


@dag(dag_id="looks", **ANY)
def looks():
    @task
    def look():
        event = incoming_event()
        return {
            "event_id": event.event_id,
            "integration": event.integration,
            "received_at": event.received_at.isoformat(),
            "headers": dict(event.headers),
            "payload": event.payload,
            "data": dict(event.data),
        }

    look()
    IdentifyCustomerOperator(task_id="identify", identifiers={"email": "customer.email"})
    IdentifyCustomerOperator(
        task_id="batch",
        data=[{"email": "A@example.com", "age": 7}, {"age": 8}, {"email": "b@example.com"}],
    )


@dag(dag_id="breaks", **ANY)
def breaks():
    @task(retries=0)
    def fail():
        if not incoming_event().data["good"]:
            raise RuntimeError("as it was asked to")
        time.sleep(1)

    fail()


@dag(dag_id="send", **ANY)
def send():
    """Sends what the conf says, where it says; all its runs share one memory."""
    IncomingTriggerDagRunOperator(
        task_id="send",
        trigger_dag_id="{{ dag_run.conf['to'] }}",
        payload="{{ dag_run.conf['payload'] | tojson }}",
        headers={"X-Request-Id": "r-1", "Authorization": "Bearer secret"},
        deduplication_parameters=["body.order.id"],
        deduplication_scope="sends",
    )


@dag(dag_id="send_and_succeed", **ANY)
def send_and_succeed():
    IncomingTriggerDagRunOperator(
        task_id="send",
        trigger_dag_id="sink",
        payload="{{ dag_run.conf['payload'] | tojson }}",
        deduplication_parameters=["order.id"],
        deduplication_scope="sends",
        on_duplicate="succeed",
    )


@dag(dag_id="send_at_second_try", **ANY)
def send_at_second_try():
    IncomingTriggerDagRunOperator(
        task_id="send",
        trigger_dag_id="{{ 'nowhere' if ti.try_number == 1 else 'sink' }}",
        payload={"order": {"id": "second-try"}},
        deduplication_parameters=["order.id"],
        retries=1,
        retry_delay=timedelta(0),
    )


@dag(dag_id="send_many", **ANY)
def send_many():
    @task
    def payloads():
        return [{"order": {"id": number % 40}, "text": "{{ 7 * 7 }}"} for number in range(50)]

    IncomingTriggerDagRunOperator.partial(
        task_id="send", trigger_dag_id="sink", deduplication_parameters=["order.id"]
    ).expand(payload=payloads())


@dag(dag_id="send_unidentified", **ANY)
def send_unidentified():
    IncomingTriggerDagRunOperator(
        task_id="send", trigger_dag_id="sink", payload={"a": 1}, deduplication_parameters=["order.id"]
    )


@dag(dag_id="send_nonsense", **ANY)
def send_nonsense():
    IncomingTriggerDagRunOperator(
        task_id="send", trigger_dag_id="sink", payload="{{ {'a': 1} }}", retries=3, retry_delay=timedelta(0)
    )


for kind in ("waiting", "deferred"):
    with DAG(f"send_{kind}", default_args=AGAIN, **ANY):
        IncomingTriggerDagRunOperator.partial(
            task_id="send",
            trigger_dag_id="breaks",
            wait_for_completion=True,
            poke_interval=1,
            deferrable=kind == "deferred",
        ).expand(payload=[{"good": True}, {"good": False}])


@dag(dag_id="not_an_event", **ANY)
def not_an_event():
    @task
    def look():
        incoming_event(get_current_context())

    look()


@dag(dag_id="send_file", **ANY)
def send_file():
    IncomingTriggerDagRunOperator(
        task_id="send",
        trigger_dag_id="sink",
        payload_file="{{ dag_run.conf['path'] }}",
        retries=1,
        retry_delay=timedelta(0),
    )


for make in (
    sink,
    looks,
    breaks,
    send,
    send_and_succeed,
    send_at_second_try,
    send_many,
    send_unidentified,
    send_nonsense,
    not_an_event,
    send_file,
):
    make()
