"""One of many tasks that send the same triggers it; in a real Redis, beside a ledger in place of Airflow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.operators import runs
from airflow_incoming.operators.gate import Gate
from airflow_incoming.operators.runs import RunRefused, RunUncertain
from airflow_incoming.stores.claims import Claims
from airflow_incoming.stores.redis_connection import connect

WEEK = timedelta(days=7)


class Ledger:
    """The DAG runs that there are. ``refuse`` says what happens to the next ones instead of being made."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.refuse: list[Callable[[str], None]] = []
        self._lock = threading.Lock()

    def create_run(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
        time.sleep(0.3)
        with self._lock:
            if self.refuse:
                self.refuse.pop()(run_id)
            if run_id in self.made:
                return False
            self.made.append(run_id)
            return True

    def exists(self, dag_id: str, run_id: str) -> bool:
        return run_id in self.made


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The execution API is only there for a running task."""
    ledger = Ledger()
    monkeypatch.setattr(runs, "create_run", ledger.create_run)
    monkeypatch.setattr(runs, "exists", ledger.exists)
    return ledger


@pytest.fixture
def send(any_redis: Any, ledger: Ledger) -> Iterator[Callable[..., str]]:
    """What a task does: returns the run that has what it was to send."""
    client = connect(any_redis.url, timeout=5)

    def act(run_id: str, hash_: str = "aa") -> str:
        gate = Gate(Claims(client, prefix="test"), hash_, window=WEEK)
        first = gate.enter("dag", run_id)
        if first is None:
            gate.pass_through("dag", run_id, {})
        return first.run_id if first else run_id

    yield act
    client.close()


def test_twenty_at_once(send: Callable[[str], str], ledger: Ledger) -> None:
    """Of 20 tasks that send the same at once one triggers; the others wait and name its run."""
    with ThreadPoolExecutor(20) as pool:
        named = list(pool.map(send, [f"run{number}" for number in range(20)]))
    assert len(ledger.made) == 1
    assert named == ledger.made * 20


def test_next_in_line(send: Callable[[str], str], ledger: Ledger) -> None:
    """Where the first one can't trigger, one of those that wait does."""

    def refuse(_run_id: str) -> None:
        raise RunRefused("no such DAG")

    ledger.refuse.append(refuse)
    with ThreadPoolExecutor(5) as pool:
        results = [pool.submit(send, f"run{number}") for number in range(5)]
    failed = [result for result in results if result.exception()]
    assert len(failed) == 1
    assert len(ledger.made) == 1
    assert {result.result() for result in results if result not in failed} == set(ledger.made)


UNCERTAIN = [AirflowTaskTimeout("too long"), EOFError("closed"), RunUncertain("500"), ValueError("odd")]


@pytest.mark.parametrize("error", UNCERTAIN)
def test_uncertain(send: Callable[[str], str], ledger: Ledger, error: BaseException) -> None:
    """A run that Airflow makes when its task was timed out already is the only one."""

    def fail(_run_id: str) -> None:
        raise error

    ledger.refuse.append(fail)
    with pytest.raises(type(error)):
        send("mine")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(send, "other")
        time.sleep(0.7)  # it has asked twice
        ledger.made.append("mine")
        assert other.result(timeout=30) == "mine"
    assert ledger.made == ["mine"]


@pytest.mark.parametrize("error", UNCERTAIN)
def test_retry_of_what_is_uncertain(send: Callable[[str], str], ledger: Ledger, error: BaseException) -> None:
    """The task's own retry doesn't wait."""

    def fail(_run_id: str) -> None:
        raise error

    ledger.refuse.append(fail)
    with pytest.raises(type(error)):
        send("mine")
    assert send("mine") == "mine"
    assert send("other") == "mine"


def test_refused_but_made(send: Callable[[str], str], ledger: Ledger) -> None:
    """Where an earlier try has made the run, a later refusal gives nothing back."""

    def make_and_fail(run_id: str) -> None:
        ledger.made.append(run_id)
        raise EOFError("closed")

    def refuse(_run_id: str) -> None:
        raise RunRefused("no such DAG")

    ledger.refuse += [refuse, make_and_fail]
    with pytest.raises(EOFError):
        send("mine")
    with pytest.raises(RunRefused):
        send("mine")
    assert send("other") == "mine"
    assert ledger.made == ["mine"]


def test_two_thousand(send: Callable[..., str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2 000 payloads of which each comes twice, 32 at a time, each triggers once."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    numbers = [number % 1000 for number in range(2000)]
    with ThreadPoolExecutor(32) as pool:
        named = list(pool.map(lambda each: send(f"run{each}", f"hash{numbers[each]}"), range(2000)))
    assert len(ledger.made) == len(set(ledger.made)) == 1000
    assert set(named) == set(ledger.made)
    assert named[:1000] == named[1000:]


def test_run_that_was_made_in_silence(send: Callable[[str], str], ledger: Ledger) -> None:
    """Where Airflow makes the run and can't say so, nobody triggers it again, and the retry is done."""

    def make_and_fail(run_id: str) -> None:
        ledger.made.append(run_id)
        raise RunUncertain("timeout")

    ledger.refuse.append(make_and_fail)
    with pytest.raises(RunUncertain):
        send("mine")
    assert send("other") == "mine"
    assert send("mine") == "mine"
    assert ledger.made == ["mine"]


def test_nobody_knows(send: Callable[[str], str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even that can be asked, the claim stays with its task, whose retry triggers."""

    def fail(*_: str) -> bool:
        raise RunUncertain("timeout")

    ledger.refuse.append(fail)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(runs, "exists", fail)
        with pytest.raises(RunUncertain):
            send("mine")
        with pytest.raises(RunUncertain):
            send("other")
    assert send("mine") == "mine"
    assert send("other") == "mine"


def test_without_redis(ledger: Ledger) -> None:
    """Without Redis nothing is triggered, and the error says what to do."""
    client = connect("redis://127.0.0.1:1/0")
    gate = Gate(Claims(client, prefix="test"), "aa", window=WEEK)
    with pytest.raises(RedisUnavailable, match="nothing was triggered"):
        gate.enter("dag", "mine")
    client.close()


def test_redis_lost_while_triggering(redis_server: Any, ledger: Ledger) -> None:
    """A run that was made is made: that it could not be confirmed fails nothing."""
    redis_server.flush()
    client = connect(redis_server.url, timeout=0.5)
    gate = Gate(Claims(client, prefix="test"), "aa", window=WEEK)
    assert gate.enter("dag", "mine") is None
    redis_server.hang()
    try:
        assert gate.pass_through("dag", "mine", {}) is True
    finally:
        redis_server.go_on()
    found = gate.enter("dag", "other")
    assert found is not None
    assert found.run_id == "mine"
    client.close()
