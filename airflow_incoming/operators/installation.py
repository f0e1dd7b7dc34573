"""What a worker knows of the installation: the ``[incoming]`` section, and Redis by way of it."""

from __future__ import annotations

from functools import cache

from airflow_incoming.core.errors import IncomingError
from airflow_incoming.settings import Settings, read_settings
from airflow_incoming.stores.claims import Claims
from airflow_incoming.stores.redis_connection import connect
from airflow_incoming.stores.stream import EventStream, RedisStream

#: Seconds that a task waits for Redis; nobody waits for the task as a sender does for a receiver.
REDIS_TIMEOUT = 5.0


class RedisNotConfigured(IncomingError):
    """This needs Redis, and [incoming] redis_url is empty where the task or trigger runs."""

    code = "redis_not_configured"

    def __init__(self, what: str, instead: str = "") -> None:
        super().__init__(
            f"{what} needs Redis, and [incoming] redis_url is empty here. Set AIRFLOW__INCOMING__REDIS_URL "
            f"where workers and the triggerer run, too{instead}."
        )


@cache
def settings() -> Settings:
    """Return the ``[incoming]`` section as this process has it. Raises ValueError for a wrong option."""
    from airflow.sdk.configuration import conf

    return read_settings(lambda name: conf.get("incoming", name, fallback=None))


@cache
def claims() -> Claims:
    """Return the deduplication memory of tasks; connects at first use. Raises RedisNotConfigured."""
    options = with_redis("Deduplication in tasks", ", or leave deduplication_parameters out")
    return Claims(connect(options.redis_url, timeout=REDIS_TIMEOUT), prefix=options.redis_prefix)


@cache
def stream() -> EventStream:
    """Return the streams of accepted events; connects at first use. Raises RedisNotConfigured."""
    options = with_redis("Waiting for events")
    client = connect(options.redis_url, timeout=REDIS_TIMEOUT)
    return RedisStream(client, prefix=options.redis_prefix, limits=options.stream_limits)


def with_redis(what: str, instead: str = "") -> Settings:
    """Return the settings, if they name a Redis. Raises RedisNotConfigured."""
    if not settings().redis_url:
        raise RedisNotConfigured(what, instead)
    return settings()


def subscriber_queue_size() -> int:
    """Return how many events Airflow keeps for a trigger that shares a stream before it fails it."""
    from airflow.sdk.configuration import conf

    return int(conf.getint("triggerer", "shared_stream_subscriber_queue_size", fallback=1024))
