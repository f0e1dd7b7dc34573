"""Forgetting a hash: for good, whoever is about to remember it, or it fails and nothing is forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.models.log import Log
from sqlalchemy import Engine, func, select

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.messages import Outcome
from airflow_incoming.db.engine import reading, transaction
from airflow_incoming.services.intake import Intake
from airflow_incoming.services.replay import EventDesk
from airflow_incoming.services.rights import Trusted
from airflow_incoming.stores import inbox
from airflow_incoming.stores.dedup import Known, Memory, RedisDedup
from airflow_incoming.stores.inbox import Inbox
from airflow_incoming.stores.redis_connection import connect
from tests.contract.samples import NOW, WEEK, make_event
from workbench.environment import ROOT, clean_environ
from workbench.redis import RedisServer

HASH = "f0" * 32

#: A process that stands still after COMMIT, before it tells Redis, until somebody has it go on.
STANDS_STILL = """
import os, signal, sys
from concurrent.futures import Future
from airflow_incoming.db.engine import make_engine
from airflow_incoming.services.intake import Intake
from airflow_incoming.stores.dedup import RedisDedup
from airflow_incoming.stores.inbox import Inbox
from airflow_incoming.stores.redis_connection import connect
from tests.contract.samples import NOW, make_event

class Standing(RedisDedup):
    def remember(self, memories):
        os.kill(os.getpid(), signal.SIGSTOP)
        super().remember(memories)

memory = Standing(connect(sys.argv[2]), prefix="test")
intake = Intake(Inbox(make_engine(sys.argv[1])), memory, clock=lambda: NOW)
future = Future()
intake.take_in([(make_event(sys.argv[3]), future)])
assert future.result(0).status == "accepted"
"""


@pytest.fixture
def memory(redis_server: RedisServer) -> Iterator[RedisDedup]:
    redis_server.flush()
    client = connect(redis_server.url)
    yield RedisDedup(client, prefix="test")
    client.close()


def send(engine: Engine, memory: RedisDedup, *, now: datetime = NOW, window: timedelta = WEEK) -> Outcome:
    future: Future[Outcome] = Future()
    event = make_event(HASH, window=window, received_at=now)
    Intake(Inbox(engine), memory, clock=lambda: now).take_in([(event, future)])
    return future.result(0)


def forget(engine: Engine, memory: RedisDedup) -> bool:
    return EventDesk(engine, memory, clock=lambda: NOW).forget(HASH, by=Trusted("test"))


def test_a_process_that_stood_still_between_commit_and_redis(
    engine: Engine, database_url: str, memory: RedisDedup, redis_server: RedisServer
) -> None:
    """What it remembers late isn't remembered: the next request runs, and makes the next duplicates."""
    words = [sys.executable, "-W", "ignore", "-c", STANDS_STILL, database_url, redis_server.url, HASH]
    with subprocess.Popen(words, cwd=ROOT, env=clean_environ() | {"PYTHONPATH": f"{ROOT}"}) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            assert forget(engine, memory) is True
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert process.wait(20) == 0
    assert memory.peek([HASH]) == {}
    later = NOW + timedelta(seconds=1)
    first = send(engine, memory, now=later)
    assert first.status == "accepted"
    assert send(engine, memory, now=later) == Outcome(status="duplicate", event_id=first.event_id)
    assert memory.peek([HASH])[HASH].known.event_id == first.event_id


def test_a_window_that_was_being_moved_on_comes_too_late(engine: Engine, memory: RedisDedup) -> None:
    """A duplicate that Redis knew of slides the claim once in an hour: not back into being."""

    class Standing(Inbox):
        def slide(self, windows: Any, *, now: datetime) -> None:
            assert forget(engine, memory) is True
            super().slide(windows, now=now)

    send(engine, memory)
    later = NOW + timedelta(hours=2)
    future: Future[Outcome] = Future()
    Intake(Standing(engine), memory, clock=lambda: later).take_in([(make_event(HASH), future)])
    assert future.result(0).status == "duplicate"
    assert memory.peek([HASH]) == {}
    assert send(engine, memory, now=later).status == "accepted"


def test_a_claim_that_is_being_taken_over_is_forgotten_as_it_is_then(
    engine: Engine, memory: RedisDedup
) -> None:
    """Whoever forgets waits for who claims, and the other way round."""
    send(engine, memory, now=NOW - 2 * WEEK)
    newer = make_event(HASH)
    with ThreadPoolExecutor(1) as threads:
        with transaction(engine) as connection:
            assert inbox.claim(connection, [newer], now=NOW) == {newer.id: newer.id}
            forgetting = threads.submit(forget, engine, memory)
            threading.Event().wait(0.3)
            assert not forgetting.done()
        assert forgetting.result(10) is True
    memory.remember([Memory(HASH, Known(newer.id, NOW), WEEK)])
    assert memory.peek([HASH]) == {}
    assert send(engine, memory).status == "accepted"


def test_nothing_is_forgotten_where_redis_is_out_of_reach(engine: Engine, memory: RedisDedup) -> None:
    """Neither by the database, which would let the next one run, nor in the audit log."""
    first = send(engine, memory)
    gone = RedisDedup(connect("redis://127.0.0.1:1/0"), prefix="test")
    with pytest.raises(RedisUnavailable):
        forget(engine, gone)
    assert send(engine, gone) == Outcome(status="duplicate", event_id=first.event_id)
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(Log.metadata.tables["log"])) == 0
