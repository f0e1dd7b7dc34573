"""Redis behind Sentinel: the primary is whichever server the sentinels name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
import redis

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.stores.dedup import Known, Memory, RedisDedup, connect
from tests.conftest import PREFIX
from workbench.environment import clean_environ
from workbench.processes import Process, free_port
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
