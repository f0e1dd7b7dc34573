"""Every example runs to success in a real Airflow, and does what it says."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import yaml

from tests.integration.authors.conftest import PREFIX, Author
from workbench.examples import DAGS, EXAMPLES, show_examples
from workbench.visit import Visit

pytestmark = pytest.mark.parametrize("author", ["sqlite"], indirect=True)


def test_all_examples(author: Author) -> None:
    """As in the demonstration; each DAG has a successful run, and its tasks have left what they should."""
    house = author.house
    api_key = house.airflow.result("incoming", "keys", "create", "shop")["api_key"]
    house.apply(*yaml.safe_load((EXAMPLES / "integrations.yaml").read_text())["integrations"])
    urls = {name: house.url(name) for name in house.endpoints}
    visit = Visit(house.airflow, house.processes, urls, api_key)
    visit.sign_in()
    visit.wait(lambda: all(map(visit.is_known, urls.values())), "the endpoints to be known")
    form = show_examples(visit, redis=house.redis, prefix=PREFIX)
    succeeded = {dag_id for (dag_id,) in house.sql("select dag_id from dag_run where state = 'success'")}
    assert set(DAGS) <= succeeded
    saved = author.result("form_answer", f"incoming__form__{form['_incoming.event_id']}", "save")
    assert (saved["email"], saved["form"], saved["answers"]) == ("zoe@example.com", "lT4Z3j", 4)
    (nightly,) = [run for dag, run, _ in house.runs() if dag == "nightly_orders"]
    statuses = [result["status"] for result in author.xcoms("nightly_orders", nightly, "process")]
    assert sorted(statuses) == ["duplicate", "triggered", "triggered", "triggered"]
    nights = [conf["order.id"] for conf in author.confs("process_order").values()]
    assert sorted(order for order in nights if order.startswith("N-")) == ["N-1001", "N-1002", "N-1003"]
    with closing(sqlite3.connect(house.airflow.home / "customers.db")) as customers:
        rows = customers.execute("select email, name from customer").fetchall()
    assert rows == [("zoe@example.com", "Zoë'); drop table customer; --")]
    tickets = [
        author.result("open_ticket", run, "read")["text"]
        for dag, run, _ in house.runs()
        if dag == "open_ticket"
    ]
    assert sorted(tickets) == ["Hello?", "Is anybody there?"]
