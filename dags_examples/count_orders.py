"""Runs whenever an order came in: the integration ``orders`` updates the asset that this is scheduled on."""

from __future__ import annotations

import logging

from airflow.sdk import Asset, dag, get_current_context, task

log = logging.getLogger(__name__)

ORDERS = Asset("incoming://orders")


@dag(dag_id="count_orders", schedule=[ORDERS], is_paused_upon_creation=False, tags=["incoming"])
def count_orders():
    @task
    def count() -> int:
        events = get_current_context()["triggering_asset_events"][ORDERS]
        for event in events:
            log.info("Order %s", event.extra.get("order.id"))
        return len(events)

    count()


count_orders()
