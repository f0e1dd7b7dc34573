"""The deduplication memory of tasks, in a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.stores.claims import Claim, Claims
from airflow_incoming.stores.redis_connection import connect

WEEK = timedelta(days=7)
BRIEF = timedelta(milliseconds=600)


@pytest.fixture
def client(any_redis: Any) -> Iterator[Any]:
    """A client of an empty Redis."""
    client = connect(any_redis.url, timeout=5)
    yield client
    client.close()


@pytest.fixture
def claims(client: Any) -> Claims:
    return Claims(client, prefix="test")


@pytest.fixture
def impatient(client: Any) -> Claims:
    """Claims that turn stale after 0.6 s."""
    return Claims(client, prefix="test", pending=BRIEF)


def take(claims: Claims, run_id: str = "mine", *, window: timedelta = WEEK, instead_of: str = "") -> Claim:
    return claims.take("aa", dag_id="dag", run_id=run_id, window=window, instead_of=instead_of)


def test_first_one_takes_it(claims: Claims) -> None:
    """A hash that nobody has is taken; for everybody else it is then that run's."""
    assert take(claims) == Claim(state="taken", dag_id="dag", run_id="mine")
    assert take(claims, "other") == Claim(state="pending", dag_id="dag", run_id="mine")
    assert not take(claims, "other").is_ours


def test_retry_takes_its_own_claim_again(claims: Claims) -> None:
    """A retried task never meets its own claim as a duplicate, neither pending nor confirmed."""
    take(claims)
    assert take(claims).state == "taken"
    assert claims.confirm("aa", run_id="mine", window=WEEK)
    assert take(claims).state == "kept"
    assert take(claims).is_ours
    assert take(claims, "other").state == "confirmed"


def test_confirmed_makes_duplicates(claims: Claims) -> None:
    """A duplicate learns which run of which DAG was first."""
    take(claims)
    claims.confirm("aa", run_id="mine", window=WEEK)
    assert take(claims, "other") == Claim(state="confirmed", dag_id="dag", run_id="mine")


def test_hashes_are_apart(claims: Claims) -> None:
    """A claim says nothing about another hash."""
    take(claims)
    assert claims.take("bb", dag_id="dag", run_id="other", window=WEEK).state == "taken"


def test_released_is_free(claims: Claims) -> None:
    """What a failed task gives back another may take; only its owner gives back, and only what is pending."""
    take(claims)
    assert not claims.release("aa", run_id="other")
    assert claims.release("aa", run_id="mine")
    assert not claims.release("aa", run_id="mine")
    assert take(claims, "other").state == "taken"
    claims.confirm("aa", run_id="other", window=WEEK)
    assert not claims.release("aa", run_id="other")


def test_pending_turns_stale(impatient: Claims) -> None:
    """A claim whose owner died may be taken over after a while, by one who says whose it was."""
    take(impatient)
    assert take(impatient, "other", instead_of="mine").state == "pending"
    time.sleep(0.7)
    assert take(impatient, "other") == Claim(state="stale", dag_id="dag", run_id="mine")
    assert take(impatient, "other", instead_of="third").state == "stale"
    assert take(impatient, "other", instead_of="mine").state == "taken"
    assert take(impatient, "third", instead_of="mine").state == "pending"
    assert not impatient.confirm("aa", run_id="mine", window=WEEK)
    assert impatient.confirm("aa", run_id="other", window=WEEK)


def test_owner_renews_its_stale_claim(impatient: Claims) -> None:
    """A late retry has its claim for as long as a new one."""
    take(impatient)
    time.sleep(0.7)
    assert take(impatient).state == "taken"
    assert take(impatient, "other", instead_of="mine").state == "pending"


def test_pending_outlives_a_short_window(claims: Claims) -> None:
    """A claim isn't forgotten while its run is being made, however short the window."""
    take(claims, window=timedelta(milliseconds=50))
    time.sleep(0.2)
    assert take(claims, "other", window=timedelta(milliseconds=50)).state == "pending"


def test_window_slides(claims: Claims) -> None:
    """The window is counted from the last time the same was sent."""
    take(claims, window=BRIEF)
    claims.confirm("aa", run_id="mine", window=BRIEF)
    for _ in range(3):
        time.sleep(0.35)
        assert take(claims, "other", window=BRIEF).state == "confirmed"
    time.sleep(0.8)
    assert take(claims, "other", window=BRIEF).state == "taken"


def test_one_of_fifty(any_redis: Any, claims: Claims) -> None:
    """Of 50 that claim at once one wins, and all others hear of it."""
    clients = [connect(any_redis.url, timeout=10) for _ in range(50)]

    def claim(number: int) -> Claim:
        return take(Claims(clients[number], prefix="test"), f"run{number}")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(claim, range(50)))
    for client in clients:
        client.close()
    winners = [answer for answer in answers if answer.is_ours]
    assert len(winners) == 1
    assert {answer.run_id for answer in answers} == {winners[0].run_id}


def test_many_are_cheap(claims: Claims) -> None:
    """A claim and its confirmation are two short commands: 2000 pairs take seconds, not minutes."""
    began = time.monotonic()
    for number in range(2000):
        claims.take(f"h{number}", dag_id="dag", run_id=f"r{number}", window=WEEK)
        claims.confirm(f"h{number}", run_id=f"r{number}", window=WEEK)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis+cluster://127.0.0.1:1"])
def test_redis_out_of_reach(url: str) -> None:
    """An outage is said as one."""
    client = connect(url)
    with pytest.raises(RedisUnavailable, match="ConnectionError"):
        take(Claims(client, prefix="test"))
    client.close()


def test_redis_that_was_replaced(any_redis: Any, claims: Claims) -> None:
    """An empty Redis, without our scripts, is asked like the one before."""
    take(claims)
    for node in any_redis.nodes:
        node.command("SCRIPT", "FLUSH")
    any_redis.flush()
    assert take(claims, "other").state == "taken"


def test_strange_key_is_an_outage(any_redis: Any, claims: Claims) -> None:
    """Where somebody else put something at our key, nothing is guessed."""
    any_redis.client().set("test:claim:aa", "garbage")
    with pytest.raises(RedisUnavailable, match="WRONGTYPE"):
        take(claims)
