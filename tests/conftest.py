"""Real services for every room. A missing one skips its tests here, and fails them in CI."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

if TYPE_CHECKING:
    from tests.house import Builder
    from workbench.mysql import MySQLServer
    from workbench.postgres import PostgresServer
    from workbench.processes import Processes
    from workbench.redis import RedisCluster, RedisServer

# Airflow reads this when it is first imported; without it, it would make itself a home in the user's.
if "AIRFLOW_HOME" not in os.environ:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="incoming-home-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

PREFIX = Path(sys.prefix)
#: The databases that every store is tested on. MySQL is in no wheel, so somebody has to offer one.
DATABASES = ["sqlite", "postgresql", *(["mysql"] if "INCOMING_TEST_MYSQL" in os.environ else [])]
SERVERS = {"postgresql": "postgres_server", "mysql": "mysql_server"}


def missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and this is CI")
    pytest.skip(f"{what} is missing")


def redis_binary() -> Path:
    from workbench.redis import find_redis

    binary = find_redis(PREFIX)
    if binary is None:
        missing("redis-server")
    assert binary is not None
    return binary


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    from workbench.redis import RedisServer

    server = RedisServer(redis_binary(), tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    from workbench.redis import RedisCluster

    cluster = RedisCluster(redis_binary(), tmp_path_factory.mktemp("cluster")).form()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    from workbench.postgres import PostgresServer, find_postgres

    programs = find_postgres(PREFIX)
    if programs is None:
        missing("PostgreSQL")
    assert programs is not None
    server = PostgresServer(programs).start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def mysql_server() -> MySQLServer:
    """A MySQL that somebody else runs: INCOMING_TEST_MYSQL is the URL of a user who may create databases."""
    from workbench.mysql import MySQLServer

    return MySQLServer(os.environ["INCOMING_TEST_MYSQL"])


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    from tests.house import Builder

    return Builder(tmp_path_factory.mktemp("houses"))


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    from workbench.processes import Processes

    with Processes() as running:
        yield running
