"""A Redis Cluster changes while it is used: slots move, nodes fail, others take their places."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from redis.exceptions import RedisError, ResponseError
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
from tests.forks import in_fork
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


class Stub:
    """A node that answers each command as it is told, where a real one of version 6 never would."""

    def __init__(self, **answers: str) -> None:
        self.answers, self.asked = answers, list[str]()
        stub = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while line := self.rfile.readline():
                    words = [
                        self.rfile.read(int(self.rfile.readline()[1:]) + 2) for _ in range(int(line[1:]))
                    ]
                    stub.asked.append(words[0].strip().decode())
                    self.wfile.write(stub.answers.get(stub.asked[-1], "+OK").encode() + b"\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def __enter__(self) -> Stub:
        threading.Thread(target=self._server.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


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


def test_an_event_loop_waits_once_for_a_node_that_is_silent(cluster: RedisCluster) -> None:
    """Whichever it is, and what the others have is read meanwhile."""

    async def scenario(silent: RedisServer, lost: str, kept: str) -> None:
        client = connect_async(cluster.url, timeout=0.5)
        assert await client.execute_command("EXISTS", lost) == 0
        silent.hang()
        try:
            with pytest.raises(RedisError):
                await client.execute_command("EXISTS", lost)
            assert await asyncio.wait_for(client.execute_command("EXISTS", kept), timeout=0.4) == 0
        finally:
            silent.go_on()
        await client.aclose()

    for node in cluster.nodes:
        lost = key(on(cluster, node)[0])
        kept = next(key(hash_) for hash_ in HASHES if hash_ not in on(cluster, node))
        asyncio.run(scenario(node, lost, kept))


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


@pytest.mark.parametrize("number", range(3))
def test_a_node_that_is_silent_costs_one_timeout(
    cluster: RedisCluster, memory: RedisDedup, number: int
) -> None:
    """However many commands it leaves unanswered; and the others, who are asked for the map, none."""
    silent = cluster.nodes[number]
    lost = on(cluster, silent)
    kept = [hash_ for hash_ in HASHES if hash_ not in lost]
    silent.hang()
    try:
        for _ in range(3):
            assert fails_quickly(memory, lost, seconds=0.6)
            assert known(memory, kept)
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


def slots(*shares: tuple[int, int, int]) -> str:
    """Return the map as a node tells it that keeps its host to itself: first and last slot, and the port."""
    told = [f"*3\r\n:{first}\r\n:{last}\r\n*2\r\n$-1\r\n:{port}" for first, last, port in shares]
    return "\r\n".join([f"*{len(told)}", *told])


@pytest.mark.parametrize("answer", ["MOVED 12182 :{old}", "ASK 12182 127.0.0.1:{new}"])
def test_a_node_that_is_named_by_its_port_alone_or_not_in_the_map_is_found(answer: str) -> None:
    """As Redis 7 may answer, or a cluster to which a node was added since."""
    with Stub(GET="$4\r\nhere") as old, Stub(GET="$3\r\nnew") as new, Stub() as refusing:
        old.answers["CLUSTER"] = slots((0, 8000, old.port), (8001, 16383, refusing.port))
        refusing.answers["GET"] = "-" + answer.format(old=old.port, new=new.port)
        client = connect(f"redis+cluster://127.0.0.1:{old.port}?protocol=2")
        asked = old if "MOVED" in answer else new
        assert exchange(client, [("GET", "foo")]) == [b"here" if asked is old else b"new"]
        assert asked.asked[-2:] == ["CLUSTER", "GET"] if asked is old else ["ASKING", "GET"]
        client.close()


def test_nodes_that_send_each_other_on_are_not_followed_for_ever() -> None:
    """Where they disagree, the command is refused."""
    with Stub() as one, Stub() as other:
        one.answers = {"CLUSTER": slots((0, 16383, one.port)), "GET": f"-MOVED 12182 :{other.port}"}
        other.answers = {"GET": f"-MOVED 12182 :{one.port}"}
        client = connect(f"redis+cluster://127.0.0.1:{one.port}?protocol=2")
        (refused,) = exchange(client, [("GET", "foo")])
        assert isinstance(refused, ResponseError)
        assert [*one.asked, *other.asked].count("GET") == 6
        client.close()


def test_a_node_that_knows_of_no_cluster_is_asked_once() -> None:
    """One that was made anew, and that the others don't know yet."""
    with Stub(CLUSTER="*0") as stranger, Stub(GET="$4\r\nhere") as member:
        member.answers["CLUSTER"] = slots((0, 16383, member.port))
        named = f"127.0.0.1:{stranger.port},127.0.0.1:{member.port}"
        client = connect(f"redis+cluster://{named}?protocol=2")
        with pytest.raises(RedisUnavailable, match="no node has the slot of foo"):
            exchange(client, [("GET", "foo")])
        assert exchange(client, [("GET", "foo")]) == [b"here"]
        client.close()


def test_options_of_the_url_hold_for_all_nodes(cluster: RedisCluster) -> None:
    """Also those that redis-py's own client for clusters would leave out, among them checks of TLS."""
    for server in servers(connect(f"{cluster.url}?health_check_interval=30&socket_timeout=1.5")):
        options = server.connection_pool.connection_kwargs
        assert (options["health_check_interval"], options["socket_timeout"]) == (30, 1.5)
        assert server.ping()


def test_nobody_connects_before_something_is_asked() -> None:
    """And whoever names nobody in reach hears of that then."""
    client = connect(f"redis+cluster://127.0.0.1:{free_port()}")
    with pytest.raises(RedisUnavailable, match="ConnectionError"):
        exchange(client, [("GET", "a")])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_threads_and_forked_processes_have_connections_of_their_own(cluster: RedisCluster) -> None:
    """Nobody gets the answer to somebody else's question."""
    client, wrong = connect(cluster.url), []
    keys = [f"key-{number}" for number in range(30)]
    assert exchange(client, [("SET", each, each) for each in keys]) == [True] * len(keys)

    def ask(mine: list[str]) -> bool:
        return exchange(client, [("GET", each) for each in mine]) == [each.encode() for each in mine]

    def ask_often(mine: list[str]) -> None:
        wrong.extend(mine for _ in range(100) if not ask(mine))

    threads = [threading.Thread(target=ask_often, args=(keys[start::3],)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert in_fork(lambda: b"right" if ask(keys) else b"wrong") == b"right"
    assert ask(keys)


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
