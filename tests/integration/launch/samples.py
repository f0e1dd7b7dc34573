"""DAGs as authors write them, one for each thing that a launcher meets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, Param
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

ORDERS = Asset(name="orders", uri="incoming://orders")
PARCELS = Asset("parcels")


async def too_late() -> None:
    """Do nothing about a missed deadline."""


def dag(dag_id: str, *tasks: str, **options: Any) -> DAG:
    """Return a DAG of empty tasks."""
    with DAG(dag_id, **{"schedule": None, **options}) as made:
        for task_id in tasks or ("only",):
            EmptyOperator(task_id=task_id)
    return made


def samples() -> list[DAG]:
    """Return all of them."""
    made = [
        dag("one_task"),
        dag("ten_tasks", *(f"task_{number}" for number in range(10))),
        dag("other"),
        dag("paused", is_paused_upon_creation=True),
        dag("stale"),
        dag("broken"),
        dag("unserialized"),
        dag("scheduled_only", schedule="@daily", allowed_run_types=["scheduled"]),
        dag(
            "strict",
            params={"order.id": Param(1, type="integer", minimum=1), "note": Param("", type="string")},
        ),
        dag("demanding", params={"order.id": Param(type="integer")}),
        dag("urgent", deadline=_deadline()),
        dag("on_orders", schedule=[ORDERS]),
        dag("on_parcels", schedule=[PARCELS]),
        dag("paused_on_orders", schedule=[ORDERS], is_paused_upon_creation=True),
    ]
    with DAG("mapped", schedule=None) as mapped:
        EmptyOperator.partial(task_id="each").expand(doc=["a", "b", "c"])
    return [*made, mapped]


def _deadline() -> DeadlineAlert:
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=1),
        callback=AsyncCallback(too_late),
    )
