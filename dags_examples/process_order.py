"""An order is checked and confirmed. Target of the integration ``orders``, which asks for a JWT."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

log = logging.getLogger(__name__)


@dag(
    dag_id="process_order",
    schedule=None,
    is_paused_upon_creation=False,
    tags=["incoming"],
    # A request that these refuse starts nothing: its event is dead and says which field was wrong.
    params={"order.id": Param(type=["integer", "string"]), "order.total": Param(0, type="number", minimum=0)},
)
def process_order():
    @task
    def confirm() -> dict[str, Any]:
        # A sender wrote these: use them as data in Python, never in a shell command, a query's text or a
        # template, which would execute what they say.
        conf = get_current_context()["params"]
        log.info("Order %s over %s is confirmed", conf["order.id"], conf["order.total"])
        return {"id": conf["order.id"], "total": conf["order.total"]}

    confirm()


process_order()
