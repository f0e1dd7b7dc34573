"""The checker itself: it must notice every broken promise, and products that really break them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.checker import Promise, Run, Verdict, check, flat, judge, same
from tests.faults.ledger import SETTLED, Attempt, Client, Probe, order
from tests.faults.limits import Limits, too_slow
from tests.faults.stage import Stage
from workbench.processes import wait_until

PROMISES = {"orders": Promise(dags=("one",)), "plain": Promise(dags=("one",), deduplicated=False)}
TWO = {"orders": Promise(dags=("one", "two"))}


def told(*statuses: int, key: str = "a", integration: str = "orders", event: str = "e1") -> list[Attempt]:
    return [
        Attempt(
            integration=integration,
            key=key,
            receiver="http://receiver",
            sent=float(number),
            answered=number + 0.5,
            status=status,
            error="",
            event_id=event if status in SETTLED else "",
            body=order(key).decode(),
        )
        for number, status in enumerate(statuses)
    ]


def run(key: str = "a", event: str = "e1", *, integration: str = "orders", **conf: Any) -> Run:
    sent = {
        "order.id": key,
        "order.items.0.sku": "a.b",
        "order.items.0.n": 1,
        "order.items.1.sku": "ü",
        "order.items.1.n": 2.5,
        "order.gifts": [],
        r"dotted\.key.back\\slash": None,
        r"dotted\.key.": False,
        r"\_incoming.event_id": "not ours",
        r"\airflow/x": 12345678901234567890,
        "empty": {},
        "_incoming.event_id": event,
    }
    return Run("one", f"incoming__{integration}__{event}", {**sent, **conf})


def broken(
    attempts: list[Attempt], runs: Iterable[Run], waiting: Any = (), promises: Any = PROMISES
) -> tuple[int, int, int]:
    """Return how much was found lost, doubled and otherwise wrong."""
    verdict = judge(attempts, runs, waiting, promises)
    return len(verdict.lost), len(verdict.doubled), len(verdict.wrong)


def test_kept_promises() -> None:
    """One run after whatever attempts, or an event that still waits."""
    assert broken(told(503, 0, 200, 204), [run()]) == (0, 0, 0)
    assert broken(told(0, 204), [run()]) == (0, 0, 0)
    assert broken(told(200), [], [("orders", "a")]) == (0, 0, 0)
    twice = told(0, integration="plain") + told(200, integration="plain", event="e2")
    both = [run(integration="plain"), run(event="e2", integration="plain")]
    assert broken(twice, both) == (0, 0, 0)


def test_what_was_lost() -> None:
    """Answered 200 or 204 and never run, in one DAG of two, or as another event than was named."""
    assert broken(told(200), []) == (1, 0, 0)
    assert broken(told(204), []) == (1, 0, 0)
    assert broken(told(200), [run()], promises=TWO) == (1, 0, 0)
    assert broken(told(200), [run(event="e2")]) == (1, 0, 0)


def test_what_was_doubled() -> None:
    """Two runs, a run beside an event that waits, two times 200."""
    assert broken(told(200), [run(), run(event="e2")]) == (0, 1, 0)
    assert broken(told(200), [run()], [("orders", "a")]) == (0, 1, 0)
    assert broken(told(200, 200), [run()]) == (0, 1, 0)
    plain = told(200, integration="plain")
    assert broken(plain, [run(integration="plain"), run(event="e2", integration="plain")]) == (0, 1, 0)


def test_what_assets_and_watchers_start() -> None:
    """An event in no run of a consumer is lost, one in two runs doubled; a watcher may repeat one."""
    promises = {
        "stock": Promise(dags=("on_stock",)),
        "news": Promise(dags=("on_news",), deduplicated=False, at_least_once=True),
    }
    stock, news = told(200, integration="stock"), told(200, integration="news")
    in_stock = replace(run(integration="stock"), dag_id="on_stock")
    in_news = replace(run(integration="news"), dag_id="on_news")
    assert broken(stock + news, [in_stock, in_news], promises=promises) == (0, 0, 0)
    assert broken(stock + news, [in_stock], promises=promises) == (1, 0, 0)
    assert broken(stock + news, [in_news], promises=promises) == (1, 0, 0)
    assert broken(stock, [in_stock, in_stock], promises=promises) == (0, 1, 0)
    verdict = judge(news, [in_news, in_news], [], promises)
    assert (verdict.broken, len(verdict.repeated)) == ([], 1)


def test_what_is_wrong_otherwise() -> None:
    """Never accepted, an answer that isn't allowed, a conf that differs, even in a type alone."""
    assert broken(told(503), []) == (0, 0, 1)
    assert broken(told(500, 200), [run()]) == (0, 0, 1)
    assert broken(told(200), [run(**{"order.items.0.n": 1.0})]) == (0, 0, 1)
    assert broken(told(200), [run(**{"order.more": 1})]) == (0, 0, 1)


def test_what_was_too_slow() -> None:
    """Two of a hundred requests, two of twenty looks; a single one is no trouble."""
    fast = told(*[204] * 99)
    slow = [replace(attempt, answered=attempt.sent + 1.5) for attempt in told(*[204] * 2)]
    looks = [0.01] * 18
    verdict = judge(fast + slow, [run()], [], PROMISES)
    assert too_slow(verdict, [*looks, 0.4, 0.4], Limits()) == [
        "p99 of requests: 1.500 s",
        "p95 of health: 0.400 s",
    ]
    assert too_slow(verdict, [*looks, 0.4, 0.4], Limits(p99=2, health=0.5)) == []
    assert too_slow(judge(fast + slow[:1], [run()], [], PROMISES), [*looks, 0.01, 0.4], Limits()) == []


def test_a_stall_is_more_than_one_look() -> None:
    """While a look lasts, others would have been made."""
    probe = Probe("http://127.0.0.1:1/")
    probe._note(0.35)
    assert probe.seconds == pytest.approx([0.35, 0.25, 0.15, 0.05])
    probe.ask()  # nobody listens
    assert len(probe.seconds) == 4


def test_the_flattener_of_the_tests() -> None:
    """It follows the README, and tells types apart."""
    document = {"a": {"b": [{"c": 1}, []]}, "d.e": {"": "\\"}, "_incoming": 1, "airflow/": {"x": True}}
    assert flat(document) == {
        "a.b.0.c": 1,
        "a.b.1": [],
        r"d\.e.": "\\",
        r"\_incoming": 1,
        r"\airflow/.x": True,
    }
    assert flat([1, [2]]) == {"0": 1, "1.0": 2}
    assert len({same(value) for value in (1, 1.0, True, "1", None)}) == 5


# Products that break a promise, in processes of their own. What breaks is what the name says.


def trusts_redis(stage: Stage, *, receiver: int) -> bool:
    """Send an order that isn't in the ledger; tell whether Redis knows it then."""
    stage.house.post("orders", {"order": {"id": str(uuid.uuid4())}}, receiver=receiver)
    return bool(stage.redis_client.keys(f"*:dedup:{'?' * 64}"))


def test_known_before_commit(stage: Stage) -> None:
    """The receiver dies between Redis and COMMIT: the retry is answered 204, and nothing ever runs."""
    victim = stage.serve(die_at=("intake: events in hand, not stored", 1), variant="known before commit")
    stage.serve()
    stage.wait_for_receivers()
    wait_until(lambda: trusts_redis(stage, receiver=1), seconds=20, what="the other receiver to trust Redis")
    client = Client(stage.ledger, {})
    key = str(uuid.uuid4())
    first, second = (f"{base}/{stage.house.endpoints['orders']}" for base in stage.house.receive)
    assert client.send("orders", key, first) == 0
    wait_until(lambda: not victim.alive, seconds=10, what="the receiver to be gone", every=0.02)
    assert client.send("orders", key, second) == 204
    client.close()
    assert stage.judge().lost


@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", ["time of the first", "ask again"])
def test_consumers(stage: Stage, variant: str) -> None:
    """Of a burst most are in no run, or what a run has had is run again."""
    stage.with_consumers()
    stage.serve()
    stage.dispatch(variant=variant)
    stage.wait_for_receivers()
    url = f"{stage.house.receive[0]}/{stage.house.endpoints['stock']}"
    with closing(Client(stage.ledger, {})) as client:
        for _ in range(20):
            assert client.send("stock", str(uuid.uuid4()), url) == 200
    wait_until(lambda: bool(stage.house.sql("select 1 from dag_run")), seconds=60, what="a run")
    if variant == "ask again":
        wait_until(lambda: bool(_verdict(stage).doubled), seconds=30, what="an event in two runs")
    else:
        time.sleep(3)
        assert _verdict(stage).lost


def _verdict(stage: Stage) -> Verdict:
    stage.ledger.attempts()
    return check(stage.ledger.path, stage.house.airflow.database, stage.promises)


def test_check_then_insert(stage: Stage) -> None:
    """Two receivers look at the same moment: both accept, and it runs twice."""
    stage.env["AIRFLOW__INCOMING__REDIS_URL"] = ""
    for _ in range(2):
        stage.serve(variant="check then insert")
    stage.dispatch()
    stage.wait_for_receivers()
    urls = [f"{base}/{stage.house.endpoints['orders']}" for base in stage.house.receive]
    for _ in range(5):
        key = str(uuid.uuid4())
        with ThreadPoolExecutor(2) as pool, closing(Client(stage.ledger, {})) as client:
            list(pool.map(lambda url, key=key: client.send("orders", key, url), urls))
    stage.settle()
    doubled = stage.judge().doubled
    assert any("accepted twice" in line for line in doubled)
    assert any("ran 2 times" in line for line in doubled)


@pytest.mark.parametrize(
    ("variant", "point", "number"),
    [
        # The first marks are those that the variant commits too early.
        ("mark before run", "dispatch: runs made, marks not written", 2),
        ("run before mark", "dispatch: committed", 1),
    ],
)
def test_mark_and_run_apart(stage: Stage, variant: str, point: str, number: int) -> None:
    """The dispatcher dies between two transactions: the runs are lost, or made again."""
    stage.serve()
    stage.wait_for_receivers()
    url = f"{stage.house.receive[0]}/{stage.house.endpoints['orders']}"
    with closing(Client(stage.ledger, {})) as client:
        assert {client.send("orders", str(uuid.uuid4()), url) for _ in range(5)} == {200}
    dispatcher = stage.dispatch(die_at=(point, number), variant=variant)
    wait_until(lambda: not dispatcher.alive, seconds=30, what="the dispatcher to die", every=0.02)
    if variant == "run before mark":
        dispatcher.start(die_at=None)
    stage.settle()
    verdict = stage.judge()
    assert (verdict.lost if variant == "mark before run" else verdict.doubled) != []
