"""An order is shipped once its payment has come: the run pauses until the webhook of the payment arrives.

Target of the integration ``orders``. The integration ``payments`` has no target at all: its events are
only waited for. While it waits, the run takes no worker.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_incoming.operators import IncomingEvent, WaitForIncomingEventOperator

log = logging.getLogger(__name__)


@dag(dag_id="ship_order", schedule=None, is_paused_upon_creation=False, tags=["incoming"])
def ship_order():
    payment = WaitForIncomingEventOperator(
        task_id="await_payment",
        integration="payments",
        # This template is safe: what it gives is compared with the payment's fields, and never executed.
        where={"order_id": "{{ dag_run.conf['order.id'] }}", "status": "paid"},
        look_back=timedelta(hours=1),  # some pay before we have begun to wait
        timeout=timedelta(days=3),
        retries=2,
    )

    @task
    def ship(payment: dict[str, Any]) -> dict[str, Any]:
        event = IncomingEvent.from_conf(payment)
        log.info("Payment %s came at %s", event.event_id, event.received_at)
        return {"order": event.data["order_id"], "amount": event.data["amount"]}

    ship(payment.output)


ship_order()
