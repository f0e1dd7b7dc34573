"""A nightly file of orders: each new order starts the DAG ``process_order``, once.

An order that the file has twice, or that a file of the last 7 days had, is skipped. Clearing a task, or
running the file again, starts nothing twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from airflow_incoming.operators import IncomingTriggerDagRunOperator

FILE = Path(__file__).with_name("nightly_orders.json")


@dag(dag_id="nightly_orders", schedule=None, is_paused_upon_creation=False, tags=["incoming"])
def nightly_orders():
    @task
    def read_file() -> list[dict[str, Any]]:
        # A value from another task is passed on as data: nothing of the file is ever rendered as a template.
        return json.loads(FILE.read_text(encoding="utf-8"))

    IncomingTriggerDagRunOperator.partial(
        task_id="process",
        trigger_dag_id="process_order",
        deduplication_parameters=["body.order.id"],
        deduplication_scope="nightly-orders",
    ).expand(payload=read_file())


nightly_orders()
