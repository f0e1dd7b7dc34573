"""Redis behind Sentinel: the primary is whichever server the sentinels name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
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
    port = free_port()
    file = tmp_path / "sentinel.conf"
    file.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor hooks 127.0.0.1 {redis_server.port} 1\n")
    command = [find_redis(PREFIX) or "", file, "--sentinel"]
    process = Process("sentinel", command, env=clean_environ(), log=tmp_path / "sentinel.log").start()

    def watches() -> bool:
        try:
            return connect(f"redis://127.0.0.1:{port}", timeout=1).ping() is True
        except redis.ConnectionError:
            return False

    process.wait_until(watches, seconds=20)
    yield port
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
