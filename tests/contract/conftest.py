"""The stores against every backend: SQLite, PostgreSQL and MySQL, memory and Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from airflow_incoming.db.engine import make_engine
from airflow_incoming.db.tables import metadata
from airflow_incoming.stores.dedup import InMemoryDedup, RedisDedup
from airflow_incoming.stores.redis_connection import connect
from tests.conftest import DATABASES, SERVERS
from workbench.redis import RedisCluster, RedisServer


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/incoming.db"
        return
    server = request.getfixturevalue(SERVERS[request.param])
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine of ours for a database that has our tables, and Airflow's audit log."""
    from airflow.models.log import Log

    engine = make_engine(database_url, pool_size=20)
    metadata.create_all(engine)
    Log.metadata.tables["log"].create(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=["redis", "cluster"])
def any_redis(request: pytest.FixtureRequest) -> RedisServer | RedisCluster:
    """One server, or three that share the keys; empty."""
    return empty_redis(request, request.param)


def empty_redis(request: pytest.FixtureRequest, kind: str) -> RedisServer | RedisCluster:
    server: RedisServer | RedisCluster = request.getfixturevalue(
        {"redis": "redis_server", "cluster": "redis_cluster"}[kind]
    )
    server.flush()
    return server


@pytest.fixture(params=["memory", "redis", "cluster"])
def dedup_memory(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The fast memory of hashes, and its twin."""
    if request.param == "memory":
        yield InMemoryDedup()
        return
    client = connect(empty_redis(request, request.param).url)
    yield RedisDedup(client, prefix="test")
    client.close()
