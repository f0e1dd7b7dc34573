"""An online form's answer becomes a customer record.

Target of the integration ``form``. ``dag_run.conf`` is the flattened answer: its keys are parameters
such as ``form_response.answers.0.email``.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import dag, get_current_context, task

log = logging.getLogger(__name__)


@dag(dag_id="form_answer", schedule=None, is_paused_upon_creation=False, tags=["incoming"])
def form_answer():
    @task
    def make_customer() -> dict[str, Any]:
        # conf comes from outside. It is used as data in Python, never put into a shell command, a query
        # or a template: a BashOperator with {{ dag_run.conf[...] }} would run whatever a sender writes
        # (CVE-2026-42252).
        answer = get_current_context()["dag_run"].conf or {}
        email = next((value for name, value in answer.items() if name.endswith(".email")), None)
        if not isinstance(email, str):
            raise ValueError("The answer has no e-mail address")
        return {
            "email": email.strip().lower(),
            "form": answer.get("form_response.form_id"),
            "answers": sum(name.endswith(".type") for name in answer),
        }

    @task
    def greet(customer: dict[str, Any]) -> None:
        log.info("Welcome, %s", customer["email"])

    greet(make_customer())


form_answer()
