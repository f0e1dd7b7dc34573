"""Connections to Redis, by a server's URL or by Sentinel's, and one round trip with several commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.redis_url import SentinelAddress, parse_redis_url

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

#: Seconds that one exchange with Redis may take before it counts as an outage.
TIMEOUT = 0.25


def exchange(client: Redis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send commands in one round trip and return their answers; a refused one's answer is its exception.

    Raises RedisUnavailable where Redis can't be asked.
    """
    from redis.exceptions import RedisError

    if not commands:
        return []
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py
    try:
        answers: list[Any] = pipeline.execute(raise_on_error=False)
    except (RedisError, OSError, ValueError) as error:
        raise RedisUnavailable(f"Redis can't be asked ({type(error).__name__}: {error}).") from error
    return answers


def connect(url: str, *, timeout: float = TIMEOUT) -> Redis:
    """Return a client for a server's URL or Sentinel's (see :mod:`core.redis_url`); connects at first use.

    A broken connection is made anew once, a slow answer isn't waited for twice. Raises ValueError.
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
    client: Redis = Redis.from_url(url, **options) if address is None else _primary(address, options)
    return client


def connect_async(url: str, *, timeout: float) -> AsyncRedis:
    """Return the same for an event loop. Whoever closes it closes what it asks sentinels by, too."""
    from redis.asyncio import Redis

    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    address = parse_redis_url(url)
    client: AsyncRedis = (
        Redis.from_url(url, **options) if address is None else _async_primary(address, options)
    )
    return client


def _primary(address: SentinelAddress, options: dict[str, Any]) -> Redis:
    from redis.sentinel import Sentinel

    sentinels, primary = _sentinel_options(address, options)
    sentinel = Sentinel(address.sentinels, sentinel_kwargs=sentinels)  # type: ignore[no-untyped-call]  # redis-py
    client: Redis = sentinel.master_for(address.service, **primary)  # type: ignore[no-untyped-call]  # redis-py
    return client


def _async_primary(address: SentinelAddress, options: dict[str, Any]) -> AsyncRedis:
    from redis.asyncio import Redis
    from redis.asyncio.sentinel import Sentinel

    sentinels, primary = _sentinel_options(address, options)
    sentinel = Sentinel(address.sentinels, sentinel_kwargs=sentinels)  # type: ignore[no-untyped-call]  # redis-py

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
