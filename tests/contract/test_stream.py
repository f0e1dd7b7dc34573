"""The streams of accepted events: Redis and its twin in memory keep the same promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
import redis

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.stream import BEGINNING, Entry, Limits, Position, Take
from airflow_incoming.stores.redis_connection import connect
from airflow_incoming.stores.stream import EventStream, InMemoryStream, RedisStream
from tests.contract.conftest import empty_redis
from workbench.redis import RedisCluster, RedisServer

LIMITS = Limits(length=10, size=2**20)

Make = Callable[..., EventStream]


@pytest.fixture(params=["memory", "redis", "cluster"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "memory":
        return lambda length=1000, size=2**30: InMemoryStream(limits=Limits(length=length, size=size))
    client = connect(empty_redis(request, request.param).url, timeout=5)
    return lambda length=1000, size=2**30: RedisStream(
        client, prefix="test", limits=Limits(length=length, size=size)
    )


def entry(integration: str = "orders", body: str = "{}") -> Entry:
    return Entry(
        integration=integration,
        event_id=str(uuid4()),
        received_at="2026-03-01T12:00:00+00:00",
        body=body,
        headers='{"x-shop": "Zoë"}',
    )


def take(event_id: str, taker: str, position: Position = BEGINNING) -> Take:
    return Take(event_id=event_id, position=position, taker=taker)


def test_what_is_published_is_read_in_order(make: Make) -> None:
    """Each integration by itself, from any position on, a few at a time."""
    stream = make()
    entries = [entry(body=f'{{"n": {n}, "s": "ü"}}') for n in range(5)]
    stream.publish([*entries[:2], entry("other"), *entries[2:]])
    read = stream.read("orders", after=BEGINNING, limit=10)
    assert [fields for _, fields in read] == [each.fields() for each in entries]
    positions = [position for position, _ in read]
    assert positions == sorted(set(positions))
    assert stream.read("orders", after=positions[1], limit=2) == read[2:4]
    assert stream.read("orders", after=positions[-1], limit=2) == []
    assert stream.read("nothing", after=BEGINNING, limit=2) == []
    stream.publish([])


def test_nothing_is_missed_after_now(make: Make) -> None:
    """Whatever is published from now on comes after now, in the same millisecond, too."""
    stream = make()
    for _ in range(50):
        now, after = stream.now("orders"), entry()
        stream.publish([after])
        ((position, fields),) = stream.read("orders", after=now, limit=100)[-1:]
        assert fields == after.fields()
        assert position.milliseconds - now.milliseconds < 5000


def test_a_stream_is_bounded(make: Make) -> None:
    """Of many events the newest remain."""
    stream = make(length=100)
    entries = [entry() for _ in range(1000)]
    stream.publish(entries)
    kept = [fields["id"] for _, fields in stream.read("orders", after=BEGINNING, limit=1000)]
    assert 100 <= len(kept) < 400
    assert kept == [each.event_id for each in entries[-len(kept) :]]


def test_a_stream_is_bounded_in_memory(make: Make) -> None:
    """Whatever the sizes of entries are, also within one batch; the newest remain."""
    stream = make(size=1_000_000)
    entries = [entry(body=json.dumps("s" * 1000)) for _ in range(200)]
    entries += [entry(body=json.dumps("l" * 100_000)) for _ in range(30)]
    stream.publish(entries[:100])
    stream.publish(entries[100:])
    read = [fields["id"] for _, fields in stream.read("orders", after=BEGINNING, limit=1000)]
    assert 5 <= len(read) <= 10
    assert read == [each.event_id for each in entries[-len(read) :]]
    huge = entry(body=json.dumps("h" * 2_000_000))
    stream.publish([huge])
    assert [fields for _, fields in stream.read("orders", after=BEGINNING, limit=9)] == [huge.fields()]


def test_one_taker_has_an_event(make: Make) -> None:
    """The first one, at every try; of each event another one may be the first."""
    stream = make()
    assert stream.take("orders", take("e1", "a"))
    assert not stream.take("orders", take("e1", "b"))
    assert stream.take("orders", take("e1", "a"))
    assert stream.take("orders", take("e2", "b"))
    assert stream.take("other", take("e1", "b"))


def test_a_taker_is_told_what_it_took(make: Make) -> None:
    """Where it is in the stream, at any time; of whom took nothing, nothing."""
    stream = make()
    assert stream.own("orders", taker="a") is None
    stream.take("orders", take("e1", "a", Position(17, 3)))
    stream.take("orders", take("e1", "b", Position(18, 0)))
    assert stream.own("orders", taker="a") == Position(17, 3)
    assert stream.own("orders", taker="b") is None
    assert stream.own("other", taker="a") is None
    stream.take("orders", take("e2", "a", Position(19, 0)))
    assert stream.own("orders", taker="a") == Position(19, 0)


def test_names_and_memory(make: Make) -> None:
    """The last names that were told are known; the first call learns that nothing is remembered."""
    stream = make()
    assert stream.names() is None
    assert not stream.announce(["a"])
    assert stream.announce(["b", "orders"])
    assert stream.names() == {"b", "orders"}
    assert stream.announce([])
    assert stream.names() == frozenset()


def test_streams_and_what_belongs_to_them_expire(any_redis: RedisServer | RedisCluster) -> None:
    """Nothing is kept for longer than a week, however quiet an integration is."""
    client, ours = any_redis.client(), connect(any_redis.url, timeout=5)
    stream = RedisStream(ours, prefix="test", limits=LIMITS)
    client.xadd("test:{orders}:events", {"id": "old"}, id="1000-0")  # of 1970
    for _ in range(120):
        stream.publish([entry()])
    stream.take("orders", take("e1", "a"))
    week = 7 * 24 * 3600 * 1000
    for key in ("test:{orders}:events", "test:{orders}:taker:e1", "test:{orders}:own:a"):
        assert week - 60_000 < client.pttl(key) <= week
    RedisStream(ours, prefix="test", limits=replace(LIMITS, kept=timedelta(hours=1))).publish([entry()])
    assert client.pttl("test:{orders}:events") <= 3600 * 1000
    assert b"1000-0" not in [position for position, _ in client.xrange("test:{orders}:events")]
    client.close()


def fill(stream: EventStream, body: str) -> None:
    """Publish until Redis refuses that."""
    for _ in range(100_000):
        try:
            stream.publish([entry(body=body)])
        except RedisUnavailable as error:
            assert "refuses" in error.detail  # noqa: PT017  # many calls, and the last one is refused
            return
    raise AssertionError("Redis takes everything")


def test_a_full_redis_is_left_again(redis_server: RedisServer) -> None:
    """Where less is to be kept than there is, that makes room first; else publishing says that it is full."""
    redis_server.flush()
    client = connect(redis_server.url, timeout=5)
    large = [entry(body=json.dumps("x" * 200_000))]
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 10_000_000)
    try:
        unbounded = RedisStream(client, prefix="test", limits=Limits(length=1000, size=2**30))
        for body in ("x" * 200_000, "x" * 2000, "x"):
            fill(unbounded, json.dumps(body))
        with pytest.raises(redis.ResponseError):
            client.rpush("test:some", *range(1000))
        bounded = RedisStream(client, prefix="test", limits=Limits(length=1000, size=5_000_000))
        for _ in range(100):
            bounded.publish(large)
            assert client.memory_usage("test:{orders}:events", samples=0) < 5_500_000
        client.rpush("test:some", *range(1000))
    finally:
        client.config_set("maxmemory", 0)
        client.close()


def test_no_redis(any_redis: RedisServer | RedisCluster) -> None:
    """Every verb says the same when Redis is out of reach, or refuses."""
    scheme = any_redis.url.partition(":")[0]
    away = RedisStream(connect(f"{scheme}://127.0.0.1:1/0", timeout=1), prefix="test", limits=LIMITS)
    verbs: list[Callable[[], object]] = [
        lambda: away.publish([entry()]),
        lambda: away.announce(["a"]),
        away.names,
        lambda: away.now("orders"),
        lambda: away.read("orders", after=BEGINNING, limit=1),
        lambda: away.take("orders", take("e", "a")),
        lambda: away.own("orders", taker="a"),
    ]
    for verb in verbs:
        with pytest.raises(RedisUnavailable):
            verb()
    client = connect(any_redis.url, timeout=5)
    any_redis.client().set("test:{odd}:events", "not a stream")
    with pytest.raises(RedisUnavailable, match="refuses"):
        RedisStream(client, prefix="test", limits=LIMITS).publish([entry(), entry("odd")])
    client.close()
