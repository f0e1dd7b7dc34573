"""The answers of an online form become a customer record: identifiers apart from attributes.

Target of the integration ``form``. An answer without an e-mail address or a phone number is skipped.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import dag, task

from airflow_incoming.operators import IdentifyCustomerOperator, incoming_event

log = logging.getLogger(__name__)


@dag(dag_id="form_answer", schedule=None, is_paused_upon_creation=False, tags=["incoming"])
def form_answer():
    identify = IdentifyCustomerOperator(
        task_id="identify",
        # * is any one segment: the form's questions may change their order.
        identifiers={
            "email": "form_response.answers.*.email",
            "phone": "form_response.answers.*.phone_number",
        },
        default_country_code="48",
    )

    @task
    def save(customer: dict[str, Any]) -> dict[str, Any]:
        # The event's data comes from outside. It is used as data in Python, never put into a shell
        # command, a query's text or a template: a BashOperator with {{ dag_run.conf[...] }} would run
        # whatever a sender writes (CVE-2026-42252).
        event = incoming_event()
        form = event.payload["form_response"]
        log.info("Event %s of %s: %s", event.event_id, event.integration, customer["identified_by"])
        return {
            **customer["identifiers"],
            "form": form["form_id"],
            "answers": len(form["answers"]),
            "event_id": event.event_id,
        }

    save(identify.output)


form_answer()
