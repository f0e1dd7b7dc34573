"""Redis behind Sentinel: the primary is whichever server the sentinels name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
import redis

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.stream import Entry, Limits
from airflow_incoming.operators import installation
from airflow_incoming.stores.dedup import Known, Memory, RedisDedup
from airflow_incoming.stores.redis_connection import connect
from airflow_incoming.stores.stream import RedisStream
from airflow_incoming.triggers.event import AwaitedEventTrigger
from tests.conftest import PREFIX
from workbench.environment import clean_environ
from workbench.processes import Process, free_port, wait_until
from workbench.redis import RedisServer, find_redis

WEEK = timedelta(days=7)
KNOWN = Known(UUID("01890000-0000-7000-8000-000000000001"), datetime(2026, 3, 1, tzinfo=timezone.utc))


@pytest.fixture
def sentinel(redis_server: RedisServer, tmp_path: Path) -> Iterator[int]:
    """The port of a sentinel that watches the server as ``hooks``."""
    with watching(redis_server, tmp_path) as port:
        yield port


@contextmanager
def watching(server: RedisServer, tmp_path: Path) -> Iterator[int]:
    """Run a sentinel that watches a server as ``hooks``, and give its port."""
    port = free_port()
    file = tmp_path / "sentinel.conf"
    file.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor hooks 127.0.0.1 {server.port} 1\n")
    command = [find_redis(PREFIX) or "", file, "--sentinel"]
    process = Process("sentinel", command, env=clean_environ(), log=tmp_path / "sentinel.log").start()

    def watches() -> bool:
        try:
            return connect(f"redis://127.0.0.1:{port}", timeout=1).ping() is True
        except redis.ConnectionError:
            return False

    process.wait_until(watches, seconds=20)
    try:
        yield port
    finally:
        process.stop()


def test_the_primary_is_found(sentinel: int) -> None:
    """Hashes are remembered and known as with one server."""
    memory = RedisDedup(connect(f"redis+sentinel://127.0.0.1:{sentinel}/hooks/1"), prefix="behind-sentinel")
    memory.remember([Memory("aa", KNOWN, WEEK)])
    assert memory.look({"aa": WEEK, "bb": WEEK}) == {"aa": KNOWN}
    memory.ping()


def test_a_service_that_nobody_watches_is_an_outage(sentinel: int) -> None:
    """The database decides then, as with any outage."""
    memory = RedisDedup(connect(f"redis+sentinel://127.0.0.1:{sentinel}/others"), prefix="behind-sentinel")
    with pytest.raises(RedisUnavailable):
        memory.look({"aa": WEEK})


def test_after_a_failover_the_new_primary_is_asked(tmp_path: Path) -> None:
    """Also over connections that are kept, which lead to the old one: no batch fails once it is done."""
    program = find_redis(PREFIX) or ""
    old, new = (RedisServer(program, tmp_path / name).start() for name in ("old", "new"))
    new.client().replicaof("127.0.0.1", str(old.port))
    try:
        with watching(old, tmp_path) as port:
            memory = RedisDedup(connect(f"redis+sentinel://127.0.0.1:{port}/hooks"), prefix="moving")
            memory.remember([Memory("aa", KNOWN, WEEK)])
            assert memory.look({"aa": WEEK}) == {"aa": KNOWN}
            sentinel = redis.Redis(port=port, decode_responses=True)

            def fails_over() -> bool:
                try:
                    return bool(sentinel.execute_command("SENTINEL FAILOVER", "hooks"))
                except redis.ResponseError:  # the replica isn't known yet, or not yet known to be good
                    return False

            wait_until(fails_over, seconds=30, what="the replica to be found good")
            wait_until(lambda: old.client().role()[0] == b"slave", seconds=30, what="the failover")
            assert memory.look({"aa": WEEK}) == {"aa": KNOWN}
            memory.remember([Memory("bb", KNOWN, WEEK)])
            assert new.client().exists("moving:dedup:bb")
    finally:
        old.stop()
        new.stop()


def test_a_deferred_task_gets_its_event(sentinel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The triggerer finds the primary as all others do, and leaves no connection to sentinels behind."""
    url = f"redis+sentinel://127.0.0.1:{sentinel}/hooks/1"
    stream = RedisStream(connect(url), prefix="behind-sentinel", limits=Limits(length=10, size=2**20))
    watch = connect(f"redis://127.0.0.1:{sentinel}")
    monkeypatch.setenv("AIRFLOW__INCOMING__REDIS_URL", url)
    monkeypatch.setenv("AIRFLOW__INCOMING__REDIS_PREFIX", "behind-sentinel")
    installation.settings.cache_clear()
    event_id = "01890000-0000-7000-8000-000000000001"
    start = str(stream.now("orders"))
    stream.publish(
        [
            Entry(
                integration="orders",
                event_id=event_id,
                received_at="2026-03-01T12:00:00+00:00",
                body="{}",
                headers="{}",
            )
        ]
    )
    connections = len(watch.client_list())

    async def wait() -> list[str]:
        trigger = AwaitedEventTrigger("orders", after=start)
        return [event.payload["_incoming.event_id"] async for event in trigger.run()]

    assert asyncio.run(asyncio.wait_for(wait(), timeout=20)) == [event_id]
    wait_until(lambda: len(watch.client_list()) == connections, seconds=5, what="connections to close")
    installation.settings.cache_clear()
