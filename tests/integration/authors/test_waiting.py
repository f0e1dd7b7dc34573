"""Waiting tasks, watched assets and asset targets in a real Airflow; the triggerer dies, Redis goes away."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.integration.authors.conftest import Author
from workbench.processes import wait_until


def until(condition: Callable[[], Any], what: str, seconds: float = 120) -> None:
    wait_until(lambda: bool(condition()), seconds=seconds, what=what, every=0.3)


def deferred(author: Author, dag_id: str, *run_ids: str) -> None:
    """Wait until the tasks of these runs wait in the triggerer, and it reads for them."""
    until(
        lambda: all(author.tasks(dag_id, run_id, "wait") == [("deferred", 1)] for run_id in run_ids), dag_id
    )


def arrived(author: Author, asset: str) -> list[str]:
    """Return the ids of the events that an asset has got; its DAG may see some of them only with the next."""
    query = (
        "select asset_event.extra from asset_event join asset on asset.id = asset_id where name = :asset "
        "order by asset_event.id"
    )
    extras = [
        json.loads(extra) if isinstance(extra, str) else extra
        for (extra,) in author.house.sql(query, asset=asset)
    ]
    assert all(extra["from_trigger"] for extra in extras)
    return [extra["payload"]["_incoming.event_id"] for extra in extras]


def seen(author: Author, dag_id: str) -> list[str]:
    """Return the ids of the events that the runs of an asset's DAG have seen."""
    runs = author.house.sql(
        "select run_id from dag_run where dag_id = :dag and state = 'success'", dag=dag_id
    )
    return [event for (run_id,) in runs for event in author.result(dag_id, run_id, "collect")["events"]]


def test_all_who_wait_get_the_event(author: Author) -> None:
    """Two runs wait for one event, and both return it, as a run would receive it."""
    runs = [author.start("waits", order="both") for _ in range(2)]
    deferred(author, "waits", *runs)
    other = author.post("signals", {"order": {"id": "another"}})
    event_id = author.post("signals", {"order": {"id": "both", "paid": True}}, {"X-Shop": "de"})
    for run_id in runs:
        assert author.await_run("waits", run_id) == "success"
        returned = author.result("waits", run_id, "wait")
        received_at = returned.pop("_incoming.received_at")
        assert received_at.endswith("+00:00")
        assert returned == {
            "order.id": "both",
            "order.paid": True,
            "_incoming.event_id": event_id,
            "_incoming.integration": "signals",
            "_incoming.headers.x-shop": "de",
        }
    assert other != event_id


def test_an_event_that_came_before_is_found(author: Author) -> None:
    """The oldest within the time to look back, without any wait; a number is found by its text."""
    first = author.post("signals", {"order": {"id": 4711}, "n": 1})
    author.post("signals", {"order": {"id": 4711}, "n": 2})
    until(lambda: first in author.published("signals"), "the event to be published")
    run_id, state = author.run("waits", order="4711")
    assert state == "success"
    assert author.result("waits", run_id, "wait")["_incoming.event_id"] == first
    assert f"Event {first} had come before" in author.log("waits", run_id, "wait")


def test_exclusive_events_go_to_one_task_each(author: Author) -> None:
    """Two runs wait, one event ends one wait; a task that is cleared gets its own event again."""
    runs = [author.start("waits_alone", order="alone") for _ in range(2)]
    deferred(author, "waits_alone", *runs)
    events = [author.post("signals", {"order": {"id": "alone"}})]
    until(
        lambda: [author.state("waits_alone", run_id) for run_id in runs].count("success") == 1, "one to end"
    )
    events.append(author.post("signals", {"order": {"id": "alone"}}))
    for run_id in runs:
        assert author.await_run("waits_alone", run_id) == "success"
    taken = [author.result("waits_alone", run_id, "wait")["_incoming.event_id"] for run_id in runs]
    assert sorted(taken) == sorted(events)
    author.clear("waits_alone", runs[1])
    assert author.await_run("waits_alone", runs[1]) == "success"
    assert author.result("waits_alone", runs[1], "wait")["_incoming.event_id"] == taken[1]


def test_a_wait_in_vain_says_so(author: Author) -> None:
    """It fails for good, or is skipped; and so does what can't be waited for."""
    vain = {reaction: author.start(f"waits_in_vain_{reaction}") for reaction in ("fail", "skip")}
    unknown = author.start("waits", order="x", integration="signal")
    empty = author.start("waits", order="")
    for reaction, state in {"fail": "failed", "skip": "skipped"}.items():
        author.await_run(f"waits_in_vain_{reaction}", vain[reaction])
        assert [ended for ended, _ in author.tasks(f"waits_in_vain_{reaction}", vain[reaction], "wait")] == [
            state
        ]
    said = author.log("waits_in_vain_fail", vain["fail"], "wait")
    assert "No event of integration signals with body.order.id = never came in 0:00:02." in said
    assert "make look_back longer" in said
    for run_id, why in {
        unknown: "There is no integration 'signal'; there are: ",
        empty: "order.id is empty",
    }.items():
        assert author.await_run("waits", run_id) == "failed"
        assert why in author.log("waits", run_id, "wait")


def test_an_asset_target_starts_its_dag(author: Author) -> None:
    """The DAG runs with the event in the asset event's extra, and the asset shows it."""
    event_id = author.post("targets", {"order": {"id": "asset"}}, {"X-Shop": "de"})
    until(lambda: event_id in seen(author, "on_asset"), "on_asset to have run")
    (asset,) = author.call("assets?uri_pattern=incoming://targets")["assets"]
    (event,) = author.call(f"assets/events?asset_id={asset['id']}")["asset_events"]
    assert event["extra"]["_incoming.event_id"] == event_id
    assert event["extra"]["order.id"] == "asset"
    assert event["extra"]["_incoming.headers.x-shop"] == "de"
    assert [run["dag_id"] for run in event["created_dagruns"]] == ["on_asset"]


def test_watchers_choose_and_share(author: Author) -> None:
    """Each watched asset gets the events that it wants, once; one connection reads an integration for all."""
    posted = [author.post("news", {"n": n, "urgent": n % 3 == 0}) for n in range(4)]
    until(lambda: len(arrived(author, "all")) == 4, "all events to arrive")
    until(lambda: len(arrived(author, "urgent")) == 2, "the urgent events to arrive")
    assert arrived(author, "all") == posted
    assert arrived(author, "urgent") == [posted[0], posted[3]]
    assert author.readers() == 3  # of news, of values, and of payments, which an example watches
    for dag_id in ("on_all", "on_urgent"):
        until(lambda dag_id=dag_id: posted[0] in seen(author, dag_id), f"{dag_id} to have run")


def test_a_killed_triggerer_loses_no_event(author: Author) -> None:
    """Killed while tasks wait and assets are watched; what comes meanwhile arrives after its restart."""
    runs = {order: author.start("waits", order=order) for order in ("during", "after")}
    deferred(author, "waits", *runs.values())
    posted = [author.post("news", {"n": n, "urgent": True}) for n in range(3)]
    author.triggerer.kill()
    posted += [author.post("news", {"n": n, "urgent": True}) for n in range(3)]
    during = author.post("signals", {"order": {"id": "during"}})
    author.triggerer.start()
    posted += [author.post("news", {"n": n, "urgent": True}) for n in range(3)]
    assert author.await_run("waits", runs["during"]) == "success"
    assert author.result("waits", runs["during"], "wait")["_incoming.event_id"] == during
    after = author.post("signals", {"order": {"id": "after"}})
    assert author.await_run("waits", runs["after"]) == "success"
    assert author.result("waits", runs["after"], "wait")["_incoming.event_id"] == after
    for asset in ("all", "urgent"):
        until(
            lambda asset=asset: set(posted) <= set(arrived(author, asset)), f"all events to arrive at {asset}"
        )


def test_an_outage_of_redis_loses_no_event(author: Author) -> None:
    """What is accepted while Redis is away reaches tasks and assets, though Redis comes back empty."""
    run_id = author.start("waits", order="outage")
    deferred(author, "waits", run_id)
    assert author.house.redis is not None
    before = arrived(author, "urgent")
    author.house.redis.stop()
    try:
        event_id = author.post("signals", {"order": {"id": "outage"}})
        urgent = author.post("news", {"urgent": True})
        late = author.start("waits", order="outage")  # begins to wait while there is nobody to ask
        deferred(author, "waits", late)
    finally:
        author.house.redis.start()
    for waiting in (run_id, late):
        assert author.await_run("waits", waiting) == "success"
        assert author.result("waits", waiting, "wait")["_incoming.event_id"] == event_id
    until(lambda: urgent in arrived(author, "urgent"), "the urgent event to arrive")
    assert arrived(author, "urgent") == [*before, urgent]
