"""DAGs that assets start, which write down what each of their runs has got."""

from __future__ import annotations

import json
import os
import time
from functools import reduce
from operator import or_
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher, get_current_context, task

from airflow_incoming.operators import incoming_events
from airflow_incoming.triggers import IncomingEventTrigger

GROUPS = 50
ON_BURST = {
    "on_burst": {},
    "on_burst_one_by_one": {"max_active_runs": 1},
    "on_burst_paused": {"is_paused_upon_creation": True},
}


@task
def note(seconds: float = 0.0) -> None:
    """Write down the numbers of the events that started this run, in the order in which they are given."""
    context = get_current_context()
    seen = [event.data["n"] for event in incoming_events(context)]
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    with (Path(os.environ["BURSTS"]) / f"{dag_id}.jsonl").open("a") as file:
        file.write(json.dumps({"run": run_id, "seen": seen}) + "\n")
    time.sleep(seconds)


def watched(name: str, **where: int) -> Asset:
    trigger = IncomingEventTrigger("watched", where)
    return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])


for dag_id, options in ON_BURST.items():
    with DAG(dag_id, schedule=[Asset("incoming://burst")], **{"is_paused_upon_creation": False, **options}):
        note(1.0 if "max_active_runs" in options else 0.0)

with DAG("on_watched", schedule=[watched("few", few=1)], is_paused_upon_creation=False):
    note()

# Each is started by any of five assets, and each of those has a watcher of its own.
for first in range(0, GROUPS, 5):
    assets = [watched(f"group_{group}", group=group) for group in range(first, first + 5)]
    with DAG(f"on_groups_{first}", schedule=reduce(or_, assets), is_paused_upon_creation=False):
        EmptyOperator(task_id="nothing")
