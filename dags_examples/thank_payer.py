"""Runs for every payment that succeeded: an asset whose watcher looks at the events of ``payments``.

Unlike a target, a watcher is declared in the DAG alone, and may choose among the events.
"""

from __future__ import annotations

import logging

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_incoming.operators import incoming_events
from airflow_incoming.triggers import IncomingEventTrigger

log = logging.getLogger(__name__)

PAID = Asset(
    "paid",
    watchers=[AssetWatcher(name="paid", trigger=IncomingEventTrigger("payments", where={"status": "paid"}))],
)


@dag(dag_id="thank_payer", schedule=[PAID], is_paused_upon_creation=False, tags=["incoming"])
def thank_payer():
    @task
    def thank() -> list[str]:
        # A watcher gives each event at least once. Whoever must not thank twice remembers the event's id.
        payments = {event.event_id: event.data for event in incoming_events()}
        # Their data comes from outside: never put it into a shell command, a query's text or a template.
        for event_id, payment in payments.items():
            log.info("Payment %s of order %s: thank you!", event_id, payment["order_id"])
        return list(payments)

    thank()


thank_payer()
