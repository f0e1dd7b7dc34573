"""The fast memory of hashes: Redis and its twin behave alike."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.stores.dedup import DedupMemory, Known, Memory, RedisDedup
from airflow_incoming.stores.redis_connection import connect
from tests.faults.proxy import Proxy
from workbench.redis import RedisServer

KNOWN = Known(
    UUID("01890000-0000-7000-8000-000000000001"), datetime(2026, 3, 1, 12, 0, 0, 125000, tzinfo=timezone.utc)
)
WEEK = timedelta(days=7)
EVENTS = [UUID(int=KNOWN.event_id.int + number) for number in (-1, 0, 1)]


def test_remembered_is_known(dedup_memory: DedupMemory) -> None:
    """Only what was remembered is known, and it comes back unchanged."""
    dedup_memory.remember([Memory("aa", KNOWN, WEEK)])
    assert dedup_memory.look({"aa": WEEK, "bb": WEEK}) == {"aa": KNOWN}


def test_nothing_asked_nothing_known(dedup_memory: DedupMemory) -> None:
    """Empty questions have empty answers."""
    dedup_memory.remember([])
    assert dedup_memory.look({}) == {}


def test_forgotten_is_unknown(dedup_memory: DedupMemory) -> None:
    """Forgetting twice is fine."""
    dedup_memory.remember([Memory("cc", KNOWN, WEEK)])
    dedup_memory.forget("cc", KNOWN.event_id)
    dedup_memory.forget("cc", None)
    dedup_memory.forget("cd", None)
    assert dedup_memory.look({"cc": WEEK, "cd": WEEK}) == {}
    assert dedup_memory.peek(["cc", "cd"]) == {}


@pytest.mark.parametrize("was_told", [True, False])
def test_what_was_forgotten_is_not_remembered_afterwards(dedup_memory: DedupMemory, was_told: bool) -> None:
    """Whoever stands still between COMMIT and remembering comes too late; not so a newer event."""
    older, newer = replace(KNOWN, event_id=EVENTS[0]), replace(KNOWN, event_id=EVENTS[2])
    if was_told:
        dedup_memory.remember([Memory("cc", KNOWN, WEEK)])
    dedup_memory.forget("cc", None if was_told else KNOWN.event_id)
    dedup_memory.remember([Memory("cc", KNOWN, WEEK)])
    dedup_memory.remember([Memory("cc", older, WEEK)])
    assert dedup_memory.look({"cc": WEEK}) == {}
    dedup_memory.remember([Memory("cc", newer, WEEK)])
    dedup_memory.remember([Memory("cc", KNOWN, WEEK)])
    assert dedup_memory.look({"cc": WEEK}) == {"cc": newer}
    dedup_memory.forget("cc", KNOWN.event_id)
    dedup_memory.remember([Memory("cc", newer, WEEK)])
    assert dedup_memory.look({"cc": WEEK}) == {}


def test_the_window_of_who_asks_counts(dedup_memory: DedupMemory) -> None:
    """From when the hash was last sent: whatever window it was remembered for is another version's."""
    short = timedelta(milliseconds=500)
    dedup_memory.remember([Memory("ss", KNOWN, WEEK), Memory("ll", KNOWN, timedelta(seconds=2))])
    time.sleep(0.3)
    assert dedup_memory.look({"ss": short, "ll": WEEK}) == {"ss": KNOWN, "ll": KNOWN}
    dedup_memory.remember([Memory("tt", KNOWN, WEEK)])
    time.sleep(0.6)
    assert dedup_memory.look({"ss": short, "tt": short}) == {}
    assert dedup_memory.look({"tt": WEEK}) == {"tt": KNOWN}  # who asks under the version before
    time.sleep(1.3)
    assert dedup_memory.look({"ll": WEEK}) == {"ll": KNOWN}


def test_looking_slides_the_window(dedup_memory: DedupMemory) -> None:
    """A hash that is asked for in time lives on; one that isn't, expires."""
    short = timedelta(milliseconds=600)
    dedup_memory.remember([Memory("dd", KNOWN, short), Memory("ee", KNOWN, short)])
    for _ in range(3):
        time.sleep(0.3)
        assert "dd" in dedup_memory.look({"dd": short})
    assert dedup_memory.look({"ee": short}) == {}


def test_remembering_again_replaces(dedup_memory: DedupMemory) -> None:
    """The newest memory of a hash counts."""
    newer = Known(UUID("01890000-0000-7000-8000-000000000002"), KNOWN.slid_at)
    dedup_memory.remember([Memory("ff", KNOWN, WEEK)])
    dedup_memory.remember([Memory("ff", newer, WEEK)])
    assert dedup_memory.look({"ff": WEEK}) == {"ff": newer}


@pytest.mark.parametrize(
    "garbage",
    [
        ("SET", "test:dedup:gg", "garbage"),
        ("SET", "test:dedup:gg", "two\nlines"),
        ("SET", "test:dedup:gg", "0189000000007000800000000000000a:1772366400.125"),
        ("LPUSH", "test:dedup:gg", "x"),
    ],
)
def test_garbage_at_our_keys_is_unknown(any_redis, garbage) -> None:  # type: ignore[no-untyped-def]
    """What isn't ours says nothing, not of other hashes either; the database decides."""
    any_redis.client().execute_command(*garbage)
    client = connect(any_redis.url)
    memory = RedisDedup(client, prefix="test")
    memory.remember([Memory("gh", KNOWN, WEEK)])
    assert memory.look({"gf": WEEK, "gg": WEEK, "gh": WEEK}) == {"gh": KNOWN}
    assert memory.peek(["gg"]) == {}
    client.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis+cluster://127.0.0.1:1,127.0.0.1:2"])
def test_redis_out_of_reach(url: str) -> None:
    """Refused connections are an outage at once."""
    client = connect(url)
    started = time.monotonic()
    with pytest.raises(RedisUnavailable):
        RedisDedup(client, prefix="test").look({"aa": WEEK})
    assert time.monotonic() - started < 1
    client.close()


def test_silent_redis_costs_a_quarter_of_a_second(any_redis) -> None:  # type: ignore[no-untyped-def]
    """A server that accepts and says nothing is waited for 0.25 s, not longer; nor are all of a cluster."""
    client = connect(any_redis.url)
    memory = RedisDedup(client, prefix="test")
    memory.ping()
    for node in any_redis.nodes:
        node.hang()
    try:
        for _ in range(3):
            started = time.monotonic()
            with pytest.raises(RedisUnavailable):
                memory.look({f"{number:x}": WEEK for number in range(100)})
            assert 0.2 < time.monotonic() - started < 0.6
    finally:
        for node in any_redis.nodes:
            node.go_on()
    client.close()


def test_redis_that_dribbles_is_no_help(redis_server) -> None:  # type: ignore[no-untyped-def]
    """Every byte comes in time, and the answer doesn't: the database is faster."""
    proxy = Proxy(redis_server.port)
    client = connect(f"redis://127.0.0.1:{proxy.port}/0")
    memory = RedisDedup(client, prefix="test")
    memory.remember([Memory("a" * 64, KNOWN, WEEK)])
    proxy.slices, proxy.pause = 1, 0.02
    with pytest.raises(RedisUnavailable, match="slow"):
        memory.look({"a" * 64: WEEK})
    client.close()
    proxy.close()


def test_peeking_tells_how_long_and_slides_nothing(dedup_memory: DedupMemory) -> None:
    """Looking at a hash out of curiosity doesn't make it live longer."""
    short = timedelta(milliseconds=500)
    dedup_memory.remember([Memory("hh", KNOWN, WEEK), Memory("ii", KNOWN, short)])
    peeked = dedup_memory.peek(["hh", "ii", "jj"])
    assert set(peeked) == {"hh", "ii"}
    assert peeked["hh"].known == KNOWN
    assert timedelta() <= peeked["hh"].ago < timedelta(seconds=10)
    for _ in range(3):
        time.sleep(0.2)
        dedup_memory.peek(["ii"])
    assert dedup_memory.peek(["ii"]) == {}
    assert dedup_memory.peek([]) == {}


@pytest.mark.parametrize("option", ["decode_responses=1", "protocol=2", "protocol=3"])
def test_options_of_the_client_change_nothing(redis_server: RedisServer, option: str) -> None:
    """Whoever names them in the URL means them for something else."""
    client = connect(f"{redis_server.url}?{option}")
    memory = RedisDedup(client, prefix="test")
    memory.remember([Memory("aa", KNOWN, WEEK), Memory("bb", KNOWN, WEEK)])
    assert memory.look({"aa": WEEK, "cc": WEEK, "bb": WEEK}) == {"aa": KNOWN, "bb": KNOWN}
    client.close()


def test_a_batch_is_one_command(redis_server: RedisServer) -> None:
    """Looking at a hundred hashes, and remembering them, each costs one command and one round trip."""
    client = connect(redis_server.url)
    memory = RedisDedup(client, prefix="test")
    memory.remember([Memory("aa", KNOWN, WEEK)])
    memory.look({"aa": WEEK})  # from here on Redis has the scripts
    hashes = [f"{number:064x}" for number in range(100)]
    client.config_resetstat()
    memory.remember([Memory(hash_, KNOWN, WEEK) for hash_ in hashes])
    assert memory.look(dict.fromkeys(hashes, WEEK)) == dict.fromkeys(hashes, KNOWN)
    calls = {name: found["calls"] for name, found in client.info("commandstats").items()}
    assert calls.pop("cmdstat_evalsha") == 2
    # What the scripts did inside Redis, and nothing that was sent beside them.
    assert {name: number for name, number in calls.items() if "config" not in name} == {
        "cmdstat_mget": 2,
        "cmdstat_set": 100,
        "cmdstat_pexpire": 100,
    }


def test_looking_and_remembering_share_a_connection(redis_server: RedisServer) -> None:
    """So a pool with little room has some left for the others."""
    client = connect(f"{redis_server.url}?max_connections=2")
    memory = RedisDedup(client, prefix="test")
    for _ in range(3):
        memory.remember([Memory("aa", KNOWN, WEEK)])
        assert memory.look({"aa": WEEK}) == {"aa": KNOWN}
        assert memory.peek(["aa"])["aa"].known == KNOWN
    client.close()


def test_a_redis_that_has_lost_its_scripts_is_given_them_again(redis_server: RedisServer) -> None:
    """As after a restart or a failover: nobody notices."""
    client = connect(redis_server.url)
    memory = RedisDedup(client, prefix="test")
    memory.remember([Memory("hh", KNOWN, WEEK)])
    client.script_flush()
    assert memory.look({"hh": WEEK}) == {"hh": KNOWN}
    client.script_flush()
    memory.remember([Memory("ii", KNOWN, WEEK)])
    assert memory.look({"ii": WEEK}) == {"ii": KNOWN}


def test_a_redis_that_refuses_to_write_is_an_outage(redis_server: RedisServer) -> None:
    """A replica that was promoted elsewhere, or one that is full: the database decides."""
    client = connect(redis_server.url)
    memory = RedisDedup(client, prefix="test")
    memory.remember([Memory("jj", KNOWN, WEEK)])
    client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(RedisUnavailable):
            memory.look({"jj": WEEK})
        with pytest.raises(RedisUnavailable):
            memory.remember([Memory("kk", KNOWN, WEEK)])
    finally:
        client.replicaof("NO", "ONE")
