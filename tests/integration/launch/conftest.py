"""A launcher beside real metadata databases, SQLite and PostgreSQL, migrated by Airflow itself.

The launcher gets by with the session that it is given, so one process tests both databases:
Airflow's own connection points nowhere, and any use of it fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.postgres import PostgresServer

# Airflow reads these when it is imported, below.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="incoming-launch-"))
os.environ.setdefault(
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{os.environ['AIRFLOW_HOME']}/none/none.db"
)
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

from sqlalchemy import Engine

from airflow_incoming.db.engine import make_engine
from airflow_incoming.services.launch import AirflowLauncher
from tests.integration.launch.workbench import Workbench


@pytest.fixture(scope="package")
def migrations(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, subprocess.Popen[str]]]:
    """A URL for each kind of database, and the ``airflow db migrate`` that prepares it; both at once."""
    urls = {
        "sqlite": f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/airflow.db",
        "postgresql": postgres_server.create_database(),
    }
    return {name: (url, _migrate(url, tmp_path_factory.mktemp("home"))) for name, url in urls.items()}


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def engine(
    request: pytest.FixtureRequest, migrations: dict[str, tuple[str, subprocess.Popen[str]]]
) -> Iterator[Engine]:
    """Our engine for a metadata database that holds the sample DAGs."""
    url, migration = migrations[request.param]
    _, errors = migration.communicate()
    assert migration.returncode == 0, errors
    engine = make_engine(url, pool_size=5)
    Workbench(engine).deploy_samples()
    yield engine
    engine.dispose()


def _migrate(url: str, home: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def bench(engine: Engine) -> Workbench:
    """Hands for the metadata database."""
    return Workbench(engine)


@pytest.fixture
def launcher() -> AirflowLauncher:
    """A launcher with nothing in its memory."""
    return AirflowLauncher()


@pytest.fixture(autouse=True)
def _no_session_of_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("Airflow opened a session of its own")

    monkeypatch.setattr("airflow.utils.session.create_session", refuse)
    monkeypatch.setattr("airflow.settings.Session", refuse)


@pytest.fixture(autouse=True)
def _deploy_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Airflow rewrites a DAG at most every 30 seconds.
    monkeypatch.setenv("AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL", "0")
