"""Mails and chat messages open tickets: several integrations, each with a payload of its own, start one DAG.

Target of the integrations ``mail`` and ``chat``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk import dag, task

from airflow_incoming.operators import incoming_event

log = logging.getLogger(__name__)

Ticket = dict[str, Any]


def of_mail(data: Mapping[str, Any]) -> Ticket:
    return {"from": data["envelope.from"], "text": data["subject"]}


def of_chat(data: Mapping[str, Any]) -> Ticket:
    return {"from": data["user.name"], "text": data["message"]}


READERS: dict[str, Callable[[Mapping[str, Any]], Ticket]] = {"mail": of_mail, "chat": of_chat}


@dag(dag_id="open_ticket", schedule=None, is_paused_upon_creation=False, tags=["incoming"])
def open_ticket():
    @task
    def read() -> Ticket:
        # Which integration it was is what we know, not what the sender says. The rest is the sender's: data,
        # never part of a command, a query's text or a template.
        event = incoming_event()
        return {**READERS[event.integration](event.data), "id": event.event_id}

    @task
    def save(ticket: Ticket) -> Ticket:
        log.info("Ticket %s", ticket["id"])
        return ticket

    save(read())


open_ticket()
