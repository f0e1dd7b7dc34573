"""DAGs that wait for events, and DAGs that events start."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, dag, get_current_context, task

from airflow_incoming.operators import WaitForIncomingEventOperator, incoming_events
from airflow_incoming.triggers import IncomingEventTrigger

#: A busy scheduler may fail a task that goes on before the scheduler has seen that it was deferred.
AGAIN = {"retries": 2, "retry_delay": timedelta(0)}
ANY: dict[str, Any] = {"schedule": None, "is_paused_upon_creation": False, "default_args": AGAIN}


@dag(dag_id="waits", **ANY)
def waits():
    """Waits for what the conf says."""
    WaitForIncomingEventOperator(
        task_id="wait",
        integration="{{ dag_run.conf.get('integration', 'signals') }}",
        where={"order.id": "{{ dag_run.conf['order'] }}"},
        look_back=timedelta(minutes=5),
    )


@dag(dag_id="waits_alone", **ANY)
def waits_alone():
    """No two runs get the same event."""
    WaitForIncomingEventOperator(
        task_id="wait",
        integration="signals",
        where={"order.id": "{{ dag_run.conf['order'] }}"},
        exclusive=True,
    )


for reaction in ("fail", "skip"):
    with DAG(f"waits_in_vain_{reaction}", **ANY):
        WaitForIncomingEventOperator(
            task_id="wait",
            integration="signals",
            where={"order.id": "never"},
            timeout=timedelta(seconds=2),
            on_timeout=reaction,
        )


@task
def collect() -> dict[str, Any]:
    context = get_current_context()
    extras = [event.extra for events in context["triggering_asset_events"].values() for event in events]
    return {"extras": extras, "events": [event.event_id for event in incoming_events(context)]}


def watched(name: str, **where: Any) -> Asset:
    trigger = IncomingEventTrigger("news", where)
    return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])


for name, asset in {
    "on_asset": Asset("incoming://targets"),
    "on_all": watched("all"),
    "on_urgent": watched("urgent", urgent=True),
}.items():
    with DAG(name, schedule=[asset], is_paused_upon_creation=False, default_args=AGAIN):
        collect()

for make in (waits, waits_alone):
    make()
