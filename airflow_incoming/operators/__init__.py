"""What authors of DAGs import: operators, and the event that started a run.

Safe on workers: Redis and Airflow's execution API are all that is ever reached, and only by running tasks.
"""

from __future__ import annotations

from airflow_incoming.operators.event import IncomingEvent, incoming_event, incoming_events
from airflow_incoming.operators.identify import IdentifyCustomerOperator
from airflow_incoming.operators.trigger import IncomingTriggerDagRunOperator
from airflow_incoming.operators.waiting import WaitForIncomingEventOperator

__all__ = [
    "IdentifyCustomerOperator",
    "IncomingEvent",
    "IncomingTriggerDagRunOperator",
    "WaitForIncomingEventOperator",
    "incoming_event",
    "incoming_events",
]
