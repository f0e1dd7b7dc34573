"""What a worker knows of the installation: the ``[incoming]`` section, and Redis by way of it."""

from __future__ import annotations

from functools import cache

from airflow_incoming.core.errors import IncomingError
from airflow_incoming.settings import Settings, read_settings
from airflow_incoming.stores.claims import Claims
from airflow_incoming.stores.dedup import connect

#: Seconds that a task waits for Redis; nobody waits for the task as a sender does for a receiver.
REDIS_TIMEOUT = 5.0


class RedisNotConfigured(IncomingError):
    """Deduplication in tasks needs Redis, and [incoming] redis_url is empty on this worker.

    Set AIRFLOW__INCOMING__REDIS_URL for workers and the triggerer, too, or leave
    ``deduplication_parameters`` out.
    """

    code = "redis_not_configured"


@cache
def settings() -> Settings:
    """Return the ``[incoming]`` section as this process has it. Raises ValueError for a wrong option."""
    from airflow.sdk.configuration import conf

    return read_settings(lambda name: conf.get("incoming", name, fallback=None))


@cache
def claims() -> Claims:
    """Return the deduplication memory of tasks; connects at first use. Raises RedisNotConfigured."""
    if not settings().redis_url:
        raise RedisNotConfigured(
            "Deduplication in tasks needs Redis, and [incoming] redis_url is empty here. Set "
            "AIRFLOW__INCOMING__REDIS_URL where workers run, too, or leave deduplication_parameters out."
        )
    return Claims(connect(settings().redis_url, timeout=REDIS_TIMEOUT), prefix=settings().redis_prefix)
