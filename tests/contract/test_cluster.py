"""A Redis Cluster changes while it is used: slots move, nodes fail, others take their places."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.stream import Entry, Limits
from airflow_incoming.core.units import Rate
from airflow_incoming.services.diagnose import Diagnosis
from airflow_incoming.stores.claims import Claims
from airflow_incoming.stores.dedup import Known, Memory, RedisDedup
from airflow_incoming.stores.rates import Ask, RedisRates
from airflow_incoming.stores.redis_connection import connect, connect_async, exchange, servers
from airflow_incoming.stores.stream import RedisStream
from tests.conftest import PREFIX, missing
from tests.contract.receiving import House, PlainCipher
from tests.contract.samples import NOW
from workbench.processes import free_port, wait_until
from workbench.redis import RedisCluster, RedisServer, find_redis

WEEK = timedelta(days=7)
KNOWN = Known(UUID("01890000-0000-7000-8000-000000000001"), datetime(2026, 3, 1, tzinfo=timezone.utc))
HASHES = [f"{number:064x}" for number in range(100)]


@pytest.fixture
def cluster(redis_cluster: RedisCluster) -> Iterator[RedisCluster]:
    """The cluster, empty; whoever was killed is there again afterwards."""
    redis_cluster.flush()
    yield redis_cluster
    redis_cluster.start()


@pytest.fixture
def memory(cluster: RedisCluster) -> RedisDedup:
    """A memory that remembers a hundred hashes, on all nodes."""
    memory = RedisDedup(connect(cluster.url), prefix="test")
    memory.remember([Memory(hash_, KNOWN, WEEK) for hash_ in HASHES])
    return memory


def key(hash_: str) -> str:
    return f"test:dedup:{hash_}"


def on(cluster: RedisCluster, node: RedisServer) -> list[str]:
    """Return the hashes that a node has."""
    with cluster.client() as client:
        return [hash_ for hash_ in HASHES if client.get_node_from_key(key(hash_)).port == node.port]


def known(memory: RedisDedup, hashes: list[str]) -> bool:
    return memory.look(dict.fromkeys(hashes, WEEK)) == dict.fromkeys(hashes, KNOWN)


def fails_quickly(memory: RedisDedup, hashes: list[str], seconds: float = 0.5) -> bool:
    began = time.monotonic()
    with pytest.raises(RedisUnavailable):
        memory.look(dict.fromkeys(hashes, WEEK))
    return time.monotonic() - began < seconds


def is_done(act: Callable[[str], object], name: str = "") -> bool:
    try:
        act(name)
    except RedisUnavailable:
        return False
    return True


def entry(integration: str) -> Entry:
    return Entry(
        integration=integration,
        event_id="01890000-0000-7000-8000-000000000001",
        received_at="2026-03-01T12:00:00+00:00",
        body="{}",
        headers="{}",
    )


# Slots move


def test_a_slot_that_has_moved_is_followed(cluster: RedisCluster, memory: RedisDedup) -> None:
    """Its keys are found at once; from then on they are looked for where they are."""
    source, target, _ = cluster.nodes
    moved, *others = on(cluster, source)
    cluster.move(key(moved), target)
    source.client().config_resetstat()
    assert known(memory, HASHES)
    assert known(memory, [moved, *others])
    assert source.client().info("errorstats")["errorstat_MOVED"] == {"count": 1}
    cluster.move(key(moved), source)
    assert known(memory, HASHES)


def test_a_slot_that_is_just_moving_is_followed(cluster: RedisCluster, memory: RedisDedup) -> None:
    """What is there already is found there, and what is new is put there."""
    source, target, _ = cluster.nodes
    moving = on(cluster, source)[0]
    tagged = f"test:{{{key(moving)}}}:of-the-same-slot"
    cluster.move(key(moving), target, halfway=True)
    try:
        assert known(memory, HASHES)
        assert exchange(connect(cluster.url), [("SET", tagged, "1"), ("GET", tagged)]) == [True, b"1"]
    finally:
        cluster.move(key(moving), target)
        cluster.move(key(moving), source)
    assert known(memory, HASHES)


def test_one_command_for_an_event_loop_follows_too(cluster: RedisCluster, memory: RedisDedup) -> None:
    """As the triggerer sends them, one by one."""
    source, target, _ = cluster.nodes
    moved = on(cluster, source)[0]

    async def scenario() -> None:
        client = connect_async(cluster.url, timeout=1)
        assert await client.execute_command("EXISTS", key(moved)) == 1
        cluster.move(key(moved), target, halfway=True)
        assert await client.execute_command("EXISTS", key(moved)) == 1
        cluster.move(key(moved), target)
        assert await client.execute_command("EXISTS", key(moved)) == 1
        await client.aclose()

    asyncio.run(scenario())
    cluster.move(key(moved), source)


# Nodes fail


def test_a_node_that_was_killed_takes_only_its_own_along(cluster: RedisCluster, memory: RedisDedup) -> None:
    """That is an outage at once; what others have is answered as before, by each store."""
    client = connect(cluster.url)
    rates, claims = RedisRates(client, prefix="test"), Claims(client, prefix="test")
    stream = RedisStream(client, prefix="test", limits=Limits(length=10, size=2**20))
    gone = cluster.nodes[0]
    lost = on(cluster, gone)
    kept = [hash_ for hash_ in HASHES if hash_ not in lost]
    names = [f"n{number}" for number in range(20)]
    far = next(name for name in names if cluster.node_of(f"test:{{{name}}}:events") is gone)
    near = next(name for name in names if cluster.node_of(f"test:{{{name}}}:events") is not gone)
    gone.kill()
    for _ in range(3):
        assert fails_quickly(memory, lost)
        assert fails_quickly(memory, HASHES)
        assert known(memory, kept)
    with pytest.raises(RedisUnavailable):
        memory.ping()
    stream.publish([entry(near)])
    with pytest.raises(RedisUnavailable):
        stream.publish([entry(near), entry(far)])
    acts: list[Callable[[str], object]] = [
        lambda name: rates.take([Ask(name, Rate(1, 3600), 1)]),
        lambda name: claims.take(name, dag_id="dag", run_id="run", window=WEEK),
        stream.now,
    ]
    for act in acts:
        assert 5 < sum(is_done(act, name) for name in names) < 20
    cluster.start()
    assert known(memory, kept)
    assert memory.look(dict.fromkeys(lost, WEEK)) == {}
    memory.ping()


def test_a_node_that_is_silent_costs_one_timeout(cluster: RedisCluster, memory: RedisDedup) -> None:
    """However many commands it leaves unanswered."""
    silent = cluster.nodes[1]
    lost = on(cluster, silent)
    silent.hang()
    try:
        for _ in range(3):
            assert fails_quickly(memory, lost, seconds=0.6)
        assert known(memory, on(cluster, cluster.nodes[0]))
    finally:
        silent.go_on()
    assert known(memory, HASHES)


def test_a_replica_that_takes_over_is_found(tmp_path: Path) -> None:
    """Though only the node that failed was named: it has told of the others."""
    binary = find_redis(PREFIX)
    if binary is None:
        missing("redis-server")
    assert binary is not None
    cluster = RedisCluster(binary, tmp_path).form()
    try:
        primary = cluster.nodes[0]
        cluster.add_replica(primary, binary, tmp_path / "replica")
        memory = RedisDedup(connect(f"redis+cluster://127.0.0.1:{primary.port}"), prefix="test")
        memory.remember([Memory(hash_, KNOWN, WEEK) for hash_ in HASHES])
        primary.client().wait(1, 5000)
        primary.kill()
        assert fails_quickly(memory, HASHES)
        wait_until(lambda: is_done(lambda _: memory.ping()), seconds=20, what="the replica to take over")
        assert known(memory, HASHES)
    finally:
        cluster.stop()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_receiver_answers_200_while_the_cluster_is_down(engine: Engine, cluster: RedisCluster) -> None:
    """The database decides; and it does where the cluster was down before the receiver was there."""
    house = House(engine)
    endpoint = house.apply(state="published", deduplication={"parameters": ["body.a"]})
    before = house.another_process(RedisDedup(connect(cluster.url), prefix="test"))
    assert [before.post(endpoint, b'{"a": 1}') for _ in range(2)] == ["accepted", "duplicate"]
    cluster.stop()
    after = house.another_process(RedisDedup(connect(cluster.url), prefix="test"))
    for number, process in enumerate((before, after, before)):
        body = b'{"a": "%d"}' % number
        assert [process.post(endpoint, body) for _ in range(2)] == ["accepted", "duplicate"]
        assert process.post(endpoint, b'{"a": 1}') == "duplicate"
    cluster.start()
    house.clock.advance(60)
    assert [after.post(endpoint, b'{"a": 2}') for _ in range(2)] == ["accepted", "duplicate"]
    RedisDedup(connect(cluster.url), prefix="test").ping()
    house.close()


# Finding the cluster


def test_one_node_that_answers_is_enough(cluster: RedisCluster) -> None:
    """Whichever it is of those that are named; one that is silent is waited for once."""
    gone, live = free_port(), cluster.nodes[2].port
    memory = RedisDedup(connect(f"redis+cluster://127.0.0.1:{gone},127.0.0.1:{live}"), prefix="test")
    memory.ping()
    cluster.nodes[1].hang()
    try:
        named = f"redis+cluster://127.0.0.1:{cluster.nodes[1].port},127.0.0.1:{live}"
        memory = RedisDedup(connect(named), prefix="test")
        near = on(cluster, cluster.nodes[0])
        assert fails_quickly(memory, near)
        assert memory.look(dict.fromkeys(near, WEEK)) == {}
    finally:
        cluster.nodes[1].go_on()


def test_a_server_that_is_in_no_cluster_is_an_outage(redis_server: RedisServer) -> None:
    """And says why."""
    client = connect(f"redis+cluster://127.0.0.1:{redis_server.port}")
    with pytest.raises(RedisUnavailable, match="cluster support disabled"):
        exchange(client, [("GET", "a")])


def test_all_nodes_have_the_password_that_stands_in_the_url(cluster: RedisCluster) -> None:
    """Another one is an outage."""
    inside = [node.client() for node in cluster.nodes]
    for client in inside:
        client.config_set("requirepass", "s3/cret")
    try:
        memory = RedisDedup(connect(cluster.url.replace("://", "://:s3%2Fcret@")), prefix="test")
        memory.ping()
        assert memory.look(dict.fromkeys(HASHES, WEEK)) == {}
        for wrong in ("", ":other@"):
            with pytest.raises(RedisUnavailable) as refused:
                RedisDedup(connect(cluster.url.replace("://", f"://{wrong}")), prefix="test").ping()
            assert "cret" not in refused.value.detail
    finally:
        for client in inside:
            client.config_set("requirepass", "")


# Looking after it


def test_a_node_that_came_back_empty_is_noticed(cluster: RedisCluster) -> None:
    """Whichever it is: what its streams held is published anew."""
    stream = RedisStream(connect(cluster.url), prefix="test", limits=Limits(length=10, size=2**20))
    assert not stream.announce(["orders"])
    assert stream.announce(["orders"])
    for node in cluster.nodes:
        node.flush()
        assert not stream.announce(["orders"])
        assert stream.announce(["orders"])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_check_looks_at_every_node(engine: Engine, cluster: RedisCluster) -> None:
    """And names the one that it is about."""
    diagnosis = Diagnosis(
        engine,
        PlainCipher(),
        clock=lambda: NOW,
        read_address=lambda: "https://hooks.example.com/incoming",
        read_receivers=lambda: ["https://airflow.example.com/incoming"],
        connect_redis=lambda: servers(connect(cluster.url, timeout=0.5)),
    )
    names = {f"redis 127.0.0.1:{node.port}" for node in cluster.nodes}
    found = [each for each in diagnosis.findings() if each.check.startswith("redis")]
    assert {each.check for each in found if each.level == "ok" and "answers" in each.detail} == names
    cluster.nodes[2].hang()
    try:
        found = [each for each in diagnosis.findings() if each.check.startswith("redis")]
    finally:
        cluster.nodes[2].go_on()
    failed = [each.check for each in found if each.level == "error"]
    assert failed == [f"redis 127.0.0.1:{cluster.nodes[2].port}"]
    assert len({each.check for each in found if each.level == "ok"}) == 2
