"""IncomingTriggerDagRunOperator in a real Airflow: scheduler, workers, triggerer, Redis."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_incoming.stores.claims import Claims
from airflow_incoming.stores.redis_connection import connect
from tests.integration.authors.conftest import Author

#: What has nothing to do with the metadata database is tried with one of them.
on_one_database = pytest.mark.parametrize("author", ["sqlite"], indirect=True)


def order(number: Any) -> dict[str, Any]:
    return {"order": {"id": number, "lines": [{"sku": "A-7"}]}, "customer": {"email": " Zoe@Example.com"}}


def test_triggers_with_the_flattened_payload(author: Author) -> None:
    """The target gets the flattened payload and what is about the event; its tasks get both back."""
    run_id, state = author.run("send", to="looks", payload=order("first"))
    assert state == "success"
    result = author.result("send", run_id)
    assert result["status"] == "triggered"
    assert (result["created"], result["deduplicated"], len(result["hash"])) == (True, True, 64)
    assert result["run_id"] == f"incoming__sends__{result['event_id']}"
    assert author.await_run("looks", result["run_id"]) == "success"
    conf = author.confs("looks")[result["run_id"]]
    received_at = datetime.fromisoformat(conf.pop("_incoming.received_at"))
    assert datetime.now(timezone.utc) - received_at < timedelta(minutes=3)
    assert conf == {
        "order.id": "first",
        "order.lines.0.sku": "A-7",
        "customer.email": " Zoe@Example.com",
        "_incoming.event_id": result["event_id"],
        "_incoming.integration": "sends",
        "_incoming.headers.x-request-id": "r-1",
    }
    looked = author.result("looks", result["run_id"], "look")
    assert looked["payload"] == order("first")
    assert looked["headers"] == {"x-request-id": "r-1"}
    assert looked["integration"] == "sends"
    assert looked["received_at"] == received_at.isoformat()
    assert looked["data"]["order.id"] == "first"
    assert author.result("looks", result["run_id"], "identify") == {
        "identified_by": "email",
        "identifiers": {"email": "zoe@example.com"},
        "attributes": {"order.id": "first", "order.lines.0.sku": "A-7"},
    }
    assert [customer["identifiers"] for customer in author.result("looks", result["run_id"], "batch")] == [
        {"email": "a@example.com"},
        {"email": "b@example.com"},
    ]
    (unidentified,) = author.result("looks", result["run_id"], "batch", "unidentified")
    assert unidentified["index"] == 1


@on_one_database
def test_link_leads_to_the_run(author: Author) -> None:
    """The task's page has a link to the run that it triggered, and that of a duplicate to the first one's."""
    run_id, _ = author.run("send", to="sink", payload=order("linked"))
    target = author.result("send", run_id)["run_id"]
    duplicate, _ = author.run("send", to="sink", payload=order("linked"))
    assert author.tasks("send", duplicate) == [("skipped", 1)]
    for run in (run_id, duplicate):
        links = author.call(f"dags/send/dagRuns/{run}/taskInstances/send/links")
        assert links["extra_links"] == {
            "Triggered DAG run": f"{author.house.airflow.url}/dags/sink/runs/{target}"
        }


@on_one_database
def test_file(author: Author, tmp_path: Path) -> None:
    """A file of JSON is a payload; one that isn't there is waited for by retries, nonsense isn't."""
    file = tmp_path / "order.json"
    file.write_text('{"order": {"id": "filed"}, "list": [true]}')
    run_id, state = author.run("send_file", path=str(file))
    assert state == "success"
    conf = author.confs("sink")[author.result("send_file", run_id)["run_id"]]
    assert (conf["order.id"], conf["list.0"]) == ("filed", True)
    missing, state = author.run("send_file", path=str(tmp_path / "none.json"))
    assert (author.tasks("send_file", missing), state) == ([("failed", 2)], "failed")
    file.write_text("{'order'")
    nonsense, _ = author.run("send_file", path=str(file))
    assert author.tasks("send_file", nonsense) == [("failed", 1)]
    assert "order.json can't be used" in author.log("send_file", nonsense)


def test_duplicate_skips_or_succeeds(author: Author) -> None:
    """The same again triggers nothing, and names the run that was first."""
    first = author.result("send", author.run("send", to="sink", payload=order("twice"))[0])
    skipped = author.start("send", to="sink", payload=order("twice"))
    succeeded, state = author.run("send_and_succeed", payload=order("twice"))
    author.await_run("send", skipped)
    assert author.tasks("send", skipped) == [("skipped", 1)]
    assert (author.tasks("send_and_succeed", succeeded), state) == ([("success", 1)], "success")
    expected = {**first, "status": "duplicate", "created": False}
    assert author.result("send", skipped) == author.result("send_and_succeed", succeeded) == expected
    assert [conf["order.id"] for conf in author.confs("sink").values()].count("twice") == 1


def test_cleared_task_triggers_nothing_new(author: Author) -> None:
    """A cleared task finds its own run, and doesn't take it for a duplicate."""
    run_id, _ = author.run("send", to="sink", payload=order("cleared"))
    first = author.result("send", run_id)
    author.clear("send", run_id)
    assert author.await_run("send", run_id) == "success"
    assert author.tasks("send", run_id) == [("success", 2)]
    assert author.result("send", run_id) == {**first, "created": False}
    assert [conf["order.id"] for conf in author.confs("sink").values()].count("cleared") == 1


def test_failed_task_gives_its_claim_back(author: Author) -> None:
    """What could not be triggered is no duplicate when another task sends it."""
    run_id, state = author.run("send", to="nowhere", payload=order("given-back"))
    assert state == "failed"
    assert "There is no DAG 'nowhere'" in author.log("send", run_id)
    run_id, state = author.run("send", to="sink", payload=order("given-back"))
    assert author.result("send", run_id)["status"] == "triggered"


@on_one_database
def test_retry_triggers(author: Author) -> None:
    """A task that could not trigger does so when it is tried again."""
    run_id, state = author.run("send_at_second_try")
    assert (author.tasks("send_at_second_try", run_id), state) == ([("success", 2)], "success")
    assert author.result("send_at_second_try", run_id)["created"] is True


@on_one_database
def test_task_killed_before_it_confirmed(author: Author) -> None:
    """A run whose task died before it could say so makes duplicates all the same."""
    first = author.result("send", author.run("send", to="sink", payload=order("killed"))[0])
    assert author.house.redis is not None
    client = connect(author.house.redis.url, timeout=5)
    client.hset(f"authors:claim:{first['hash']}", "until", str(int(time.time() * 1000) + 600_000))
    run_id, _ = author.run("send", to="sink", payload=order("killed"))
    assert author.result("send", run_id) == {**first, "status": "duplicate", "created": False}
    assert client.hget(f"authors:claim:{first['hash']}", "until") == b"0"
    client.close()


@on_one_database
def test_task_killed_before_it_triggered(author: Author) -> None:
    """A stale claim of a run that doesn't exist is taken over."""
    first = author.result("send", author.run("send", to="sink", payload=order("half-way"))[0])
    assert author.house.redis is not None
    client = connect(author.house.redis.url, timeout=5)
    client.delete(f"authors:claim:{first['hash']}")
    dead = Claims(client, prefix="authors", pending=timedelta(milliseconds=1))
    dead.take(first["hash"], dag_id="sink", run_id="never", window=timedelta(days=7))
    run_id, _ = author.run("send", to="sink", payload=order("half-way"))
    result = author.result("send", run_id)
    assert (result["status"], result["created"]) == ("triggered", True)
    client.close()


@on_one_database
def test_fifty_mapped_payloads(author: Author) -> None:
    """Of 50 mapped payloads with 40 different ids 40 trigger; none is rendered as a template."""
    run_id, state = author.run("send_many")
    assert state == "success"
    states = [state for state, _ in author.tasks("send_many", run_id)]
    assert (states.count("success"), states.count("skipped")) == (40, 10)
    results = author.xcoms("send_many", run_id)
    assert [result["status"] for result in results].count("triggered") == 40
    confs = [
        conf for conf in author.confs("sink").values() if conf["_incoming.integration"] == "send_many.send"
    ]
    assert sorted(conf["order.id"] for conf in confs) == list(range(40))
    assert {conf["text"] for conf in confs} == {"{{ 7 * 7 }}"}


def test_waits_for_the_end_of_the_run(author: Author) -> None:
    """A task that waits succeeds or fails as the run does, on a worker or in the triggerer."""
    started = {dag_id: author.start(dag_id) for dag_id in ("send_waiting", "send_deferred")}
    for dag_id, run_id in started.items():
        author.await_run(dag_id, run_id)
        assert [state for state, _ in author.tasks(dag_id, run_id)] == ["success", "failed"]
        (result,) = author.xcoms(dag_id, run_id)
        assert (result["status"], result["state"], result["deduplicated"]) == ("triggered", "success", False)
        assert author.xcoms(dag_id, run_id, key="_link_TriggeredRunLink")[0].endswith(result["run_id"])


@on_one_database
def test_mistakes_are_told(author: Author) -> None:
    """What is not deduplicated is said; what can't be read isn't retried; a run by hand has no event."""
    started = {
        dag_id: author.start(dag_id) for dag_id in ("send_unidentified", "send_nonsense", "not_an_event")
    }
    refused = {"order": {"id": "refused", "total": "hunter2"}}
    started["send"] = author.start("send", to="process_order", payload=refused)
    for dag_id, run_id in started.items():
        author.await_run(dag_id, run_id)
    log = author.log("send", started["send"])
    assert "params of DAG 'process_order' refuse the payload: order.total breaks its rule 'type'" in log
    assert "hunter2" not in log
    run_id = started["send_unidentified"]
    assert author.result("send_unidentified", run_id)["deduplicated"] is False
    assert "none of body.order.id, so it is not deduplicated" in author.log("send_unidentified", run_id)
    run_id = started["send_nonsense"]
    assert author.tasks("send_nonsense", run_id) == [("failed", 1)]
    assert "(line 1, column 2)" in author.log("send_nonsense", run_id)
    assert "| tojson" in author.log("send_nonsense", run_id)
    run_id = started["not_an_event"]
    assert "was not started by an event" in author.log("not_an_event", run_id, "look")


@on_one_database
def test_no_redis_no_trigger(author: Author) -> None:
    """While Redis is out of reach a task fails and triggers nothing; afterwards its retry does."""
    redis = author.house.redis
    assert redis is not None
    redis.stop()
    try:
        run_id, state = author.run("send", to="sink", payload=order("outage"))
        assert state == "failed"
        assert "Without it nobody knows what was sent already" in author.log("send", run_id)
    finally:
        redis.start()
    author.clear("send", run_id)
    assert author.await_run("send", run_id) == "success"
    assert author.result("send", run_id)["created"] is True
