"""Connections to Redis, by the URL of a server, Sentinel or a cluster, and several commands at once.

Here it is decided what a cluster does otherwise than one server, and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.redis_url import ClusterAddress, SentinelAddress, parse_redis_url
from airflow_incoming.stores.redis_cluster import AsyncCluster, Cluster, Command, pipelined
from airflow_incoming.stores.redis_line import Line

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    Client = Redis | Cluster
    AsyncClient = AsyncRedis | AsyncCluster

#: Seconds that one exchange with Redis may take before it counts as an outage.
TIMEOUT = 0.25


def exchange(client: Client, commands: Sequence[Command]) -> list[Any]:
    """Send commands and return their answers; a refused one's answer is its exception.

    One round trip; in a cluster one for each node that has a key of theirs. Raises RedisUnavailable where
    Redis can't be asked.
    """
    from redis.exceptions import RedisError

    if not commands:
        return []
    try:
        return client.exchange(commands) if isinstance(client, Cluster) else pipelined(client, commands)
    except (RedisError, OSError, ValueError) as error:
        raise RedisUnavailable(f"Redis can't be asked ({type(error).__name__}: {error}).") from error


def ask(client: Client, commands: Sequence[Command]) -> list[Any]:
    """Do the same where no command may be refused: raises RedisUnavailable then, too."""
    answers = exchange(client, commands)
    for answer in answers:
        if isinstance(answer, Exception):
            raise RedisUnavailable(f"Redis refuses ({type(answer).__name__}: {answer}).") from answer
    return answers


def keep_line(client: Client) -> Line | Cluster:
    """Return who keeps the connections over which :func:`for_each` asks; a cluster does as its client."""
    return client if isinstance(client, Cluster) else Line(client)


def for_each(line: Line | Cluster, script: str) -> Callable[[Sequence[str], Sequence[Any]], list[Any]]:
    """Return what runs a script over many keys, each with as many arguments, and returns its answers.

    One server runs the script once, which gets all keys and all arguments, and returns its answers joined by
    line feeds: that costs redis-py, which packs commands and parses answers in Python, a fifth of a pipeline.
    In a cluster the keys are in many slots, so there it runs for each key. Raises RedisUnavailable.
    """
    from redis.exceptions import NoScriptError, RedisError

    if isinstance(line, Cluster):
        return lambda keys, arguments: _accepted(exchange(line, _alone(script, keys, arguments)))
    sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()

    def run(keys: Sequence[str], arguments: Sequence[Any]) -> list[Any]:
        if not keys:
            return []
        try:
            try:
                answers: bytes | None = line.ask("EVALSHA", sha, len(keys), *keys, *arguments)
            except NoScriptError:
                answers = line.ask("EVAL", script, len(keys), *keys, *arguments)
        except (RedisError, OSError, ValueError) as error:
            raise RedisUnavailable(f"Redis: {type(error).__name__}") from error
        return (answers or b"").split(b"\n")

    return run


def servers(client: Client) -> list[Redis]:
    """Return a client of each server that takes writes. Raises redis-py's errors."""
    return client.servers() if isinstance(client, Cluster) else [client]


def server_of(client: Client, key: str) -> Redis:
    """Return a client of the server that has a key now. Raises redis-py's errors."""
    return client.server_of(key) if isinstance(client, Cluster) else client


def spread(client: Client, stem: str) -> Sequence[str]:
    """Return keys that begin with ``stem``, one on each server that takes writes. Raises RedisUnavailable."""
    from redis.exceptions import RedisError

    try:
        return client.spread(stem) if isinstance(client, Cluster) else [stem]
    except (RedisError, OSError) as error:
        raise RedisUnavailable(f"Redis: {type(error).__name__}") from error


def is_refused(answer: Any) -> bool:
    """Tell whether Redis refused a command, other than for what somebody else put at our key."""
    return isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE")


def connect(url: str, *, timeout: float = TIMEOUT) -> Client:
    """Return a client for a server, what Sentinel names, or a cluster; it connects at first use.

    What URLs mean is said in :mod:`core.redis_url`. A broken connection is made anew once, a slow answer
    isn't waited for twice. Raises ValueError.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as Broken
    from redis.retry import Retry

    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 1, supported_errors=(Broken,)),
    }
    address = parse_redis_url(url)
    if isinstance(address, ClusterAddress):
        return Cluster(address, lambda node: Redis.from_url(address.url(node), **options))
    client: Redis = Redis.from_url(url, **options) if address is None else _primary(address, options)
    return client


def connect_async(url: str, *, timeout: float) -> AsyncClient:
    """Return the same for an event loop. Whoever closes it closes what it asks sentinels by, too."""
    from redis.asyncio import Redis

    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    address = parse_redis_url(url)
    if isinstance(address, ClusterAddress):
        cluster = connect(url, timeout=timeout)
        assert isinstance(cluster, Cluster)
        return AsyncCluster(cluster, lambda node: Redis.from_url(address.url(node), **options))
    client: AsyncRedis = (
        Redis.from_url(url, **options) if address is None else _async_primary(address, options)
    )
    return client


def _alone(script: str, keys: Sequence[str], arguments: Sequence[Any]) -> list[Command]:
    each = len(arguments) // max(1, len(keys))
    return [("EVAL", script, 1, key, *arguments[n * each : (n + 1) * each]) for n, key in enumerate(keys)]


def _accepted(answers: list[Any]) -> list[Any]:
    """Return answers. Raises RedisUnavailable where one of them is a refusal."""
    for answer in answers:
        if is_refused(answer):
            raise RedisUnavailable(f"Redis refuses: {type(answer).__name__}") from answer
    return answers


def _primary(address: SentinelAddress, options: dict[str, Any]) -> Redis:
    from redis.sentinel import Sentinel

    sentinels, primary = _sentinel_options(address, options)
    sentinel = Sentinel(address.sentinels, sentinel_kwargs=sentinels)
    client: Redis = sentinel.master_for(address.service, **primary)
    return client


def _async_primary(address: SentinelAddress, options: dict[str, Any]) -> AsyncRedis:
    from redis.asyncio import Redis
    from redis.asyncio.sentinel import Sentinel

    sentinels, primary = _sentinel_options(address, options)
    sentinel = Sentinel(address.sentinels, sentinel_kwargs=sentinels)

    class Primary(Redis):
        async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001  # redis-py's
            await super().aclose(close_connection_pool)
            for each in sentinel.sentinels:
                await each.aclose()

    client: AsyncRedis = sentinel.master_for(address.service, redis_class=Primary, **primary)
    return client


def _sentinel_options(
    address: SentinelAddress, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how to connect to sentinels, and how to the primary."""
    common = options | {"ssl": address.tls}
    primary = {"db": address.db, "username": address.username, "password": address.password}
    return common | {"password": address.sentinel_password}, common | primary
