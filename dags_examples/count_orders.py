"""Runs whenever orders came in: the integration ``orders`` updates the asset that this is scheduled on.

Where several came at once, one run gets them all.
"""

from __future__ import annotations

import logging

from airflow.sdk import Asset, dag, task

from airflow_incoming.operators import incoming_events

log = logging.getLogger(__name__)


@dag(
    dag_id="count_orders",
    schedule=[Asset("incoming://orders")],
    is_paused_upon_creation=False,
    tags=["incoming"],
)
def count_orders():
    @task
    def count() -> int:
        # The data of an event is the extra of its asset event. It comes from outside: never put it into a
        # shell command or a query's text.
        events = incoming_events()
        for event in events:
            log.info("Order %s", event.data.get("order.id"))
        return len(events)

    count()


count_orders()
