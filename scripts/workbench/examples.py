"""Every DAG in dags_examples, started as it is meant to be, and seen to succeed."""

from __future__ import annotations

import json
import secrets
from typing import Any

from workbench.environment import ROOT
from workbench.redis import RedisServer
from workbench.visit import Visit

EXAMPLES = ROOT / "dags_examples"
#: The DAGs have the names of their files.
DAGS = tuple(sorted(path.stem for path in EXAMPLES.glob("*.py")))


def show_examples(visit: Visit, *, redis: RedisServer | None, prefix: str) -> dict[str, Any]:
    """Run all examples, without Redis those that can do without it; return the conf of the form's answer."""
    answer = json.loads((EXAMPLES / "form_answer.json").read_text())
    answer["form_response"]["token"] = secrets.token_hex(8)
    event_id = visit.post("form", answer, "Posting a form's answer")
    run = visit.await_event_run("form_answer", "form", event_id)
    visit.post("form", answer, "Posting the same again: nothing starts", expected=204)
    order_id = secrets.token_hex(4)
    order = {"order": {"id": order_id, "total": 49.9, "items": [{"sku": "A-7"}]}}
    visit.post("orders", order, "Posting an order without a token", expected=401)
    event_id = visit.post("orders", order, "Posting it with a JWT", headers=visit.with_jwt())
    visit.await_event_run("process_order", "orders", event_id)
    visit.await_asset_run("count_orders", event_id)
    if redis is not None:
        _show_payment(visit, order_id, event_id, redis, prefix)
        visit.await_run("nightly_orders", visit.start_run("nightly_orders"))
    _show_other_targets(visit)
    conf: dict[str, Any] = run["conf"]
    return conf


def _show_payment(visit: Visit, order_id: str, event_id: str, redis: RedisServer, prefix: str) -> None:
    """A run waits for the payment of its order, and a watcher sees it, too."""
    run_id = f"incoming__orders__{event_id}"
    visit.await_deferred("ship_order", run_id, "await_payment")
    watcher = f"{prefix}:{{payments}}:cursor:*"
    visit.wait(lambda: redis.command("KEYS", watcher) != "*0", "the watcher of payments to begin")
    payment = {"payment_id": secrets.token_hex(4), "order_id": order_id, "status": "paid", "amount": 49.9}
    paid = visit.post("payments", payment, "Posting its payment")
    visit.await_run("ship_order", run_id)
    visit.await_asset_run("thank_payer", paid)


def _show_other_targets(visit: Visit) -> None:
    """A customer goes into a table; a mail and a message start the same DAG."""
    customer = {"customer": {"email": "Zoe@Example.com", "name": "Zoë'); drop table customer; --"}}
    mail = {"message_id": secrets.token_hex(4), "envelope": {"from": "a@example.com"}, "subject": "Hello?"}
    chat = {"user": {"name": "Bo"}, "message": "Is anybody there?"}
    posted = [
        ("upsert_customer", "customers", visit.post("customers", customer, "Posting a customer")),
        ("open_ticket", "mail", visit.post("mail", mail, "Posting a mail")),
        ("open_ticket", "chat", visit.post("chat", chat, "Posting a chat message")),
    ]
    for dag_id, integration, event_id in posted:
        visit.await_event_run(dag_id, integration, event_id)
