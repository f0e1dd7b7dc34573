"""Our tables: migrations are real, reach what the models say, and touch nothing of Airflow's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_incoming.db.tables import metadata
from tests.conftest import DATABASES, SERVERS

OURS = set(metadata.tables)

#: Runs in a process of its own, because Airflow's settings are read once.
SCRIPT = """
import io, sys
from contextlib import redirect_stdout
from airflow import settings
settings.initialize() if hasattr(settings, "initialize") else None
from airflow.utils.db_manager import RunDBManager
from airflow_incoming.db.manager import IncomingDBManager
from sqlalchemy import inspect
from sqlalchemy.orm import Session

engine = settings.get_engine()
def manager(): return IncomingDBManager(Session(engine))
def tables(): return set(inspect(engine).get_table_names())
ours = set(IncomingDBManager.metadata.tables)
def compare():
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={
            "version_table": IncomingDBManager.version_table_name, "compare_type": True,
            "include_object": lambda o, name, kind, *_: kind != "table" or name in ours})
        return compare_metadata(context, IncomingDBManager.metadata)
"""


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/a.db"
        return
    server = request.getfixturevalue(SERVERS[request.param])
    made = server.create_database()
    yield made
    server.drop_database(made)


def run(url: str, home: Path, script: str) -> str:
    from workbench.environment import clean_environ

    env = clean_environ() | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT + script],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_migrations_and_models_agree_up_down_and_up_again(url: str, tmp_path: Path) -> None:
    """Migrating up by the files gives what the models say; down removes all of it and nothing else."""
    run(
        url,
        tmp_path,
        """
with engine.begin() as connection:
    connection.exec_driver_sql("create table dag (id integer)")
before = tables()
manager().upgradedb(use_migration_files=True)
assert tables() == before | ours | {"alembic_version_incoming"}, tables()
assert compare() == [], compare()
assert manager().check_migration()
manager().downgrade("base")
assert tables() == before | {"alembic_version_incoming"}, tables()
assert not manager().check_migration()
manager().upgradedb(use_migration_files=True)
assert compare() == [], compare()
""",
    )


def test_what_is_published_already_is_so_since_its_version_was_made(url: str, tmp_path: Path) -> None:
    """As far as is known; a draft isn't, and the way down keeps both."""
    run(
        url,
        tmp_path,
        """
from alembic import command
from datetime import datetime, timezone
from uuid import UUID
from airflow_incoming.db.tables import integration, version
from sqlalchemy import insert, inspect, select, Table, MetaData
at = datetime(2026, 3, 1, tzinfo=timezone.utc)
one, two, draft = UUID(int=1), UUID(int=2), UUID(int=3)
command.upgrade(manager().get_alembic_config(), "0003")
with engine.begin() as connection:
    old = Table("incoming_integration", MetaData(), autoload_with=connection)
    assert "published_at" not in old.c
    common = {"suspended": False, "created_at": at, "updated_at": at}
    columns = [column for column in integration.c if column.name != "published_at"]
    def put(row):
        bare = Table("incoming_integration", MetaData(), *[c._copy() for c in columns])
        connection.execute(insert(bare).values(**common, **row))
    connection.execute(insert(version).values(id=two, integration_id=one, number=1,
        configuration={}, created_at=at, created_by="test"))
    put({"id": one, "name": "live", "endpoint_id": "a", "published_version_id": two,
        "current_version_id": two})
    put({"id": draft, "name": "draft", "endpoint_id": "b", "current_version_id": two})
manager().upgradedb(use_migration_files=True)
with engine.connect() as connection:
    found = dict(connection.execute(select(integration.c.name, integration.c.published_at)).tuples().all())
assert found == {"live": at, "draft": None}, found
manager().downgrade("0003")
with engine.connect() as connection:
    assert len(connection.exec_driver_sql("select name from incoming_integration").all()) == 2
""",
    )


def test_fresh_tables_are_stamped_in_our_version_table(url: str, tmp_path: Path) -> None:
    """A fresh installation is made from the models and stamped where Airflow's version isn't."""
    run(
        url,
        tmp_path,
        """
manager().initdb()
assert "alembic_version" not in tables(), tables()
assert manager().get_current_revision() == manager().get_script_object().get_current_head()
assert compare() == [], compare()
""",
    )


@pytest.mark.parametrize(
    ("dialect", "word"),
    [
        ("sqlite:////nowhere/a.db", "CREATE TABLE incoming_event"),
        ("postgresql+psycopg2://u@h/d", "UUID"),
        ("mysql+mysqldb://u@h/d", "LONGTEXT"),
    ],
)
def test_offline_sql(dialect: str, word: str, tmp_path: Path) -> None:
    """The SQL can be printed for each dialect, up and down, without a database."""
    printed = run(
        "sqlite:///" + str(tmp_path / "x.db"),
        tmp_path,
        f"""
from alembic import command
config = IncomingDBManager(Session(engine)).get_alembic_config()
config.set_main_option("sqlalchemy.url", {dialect!r})
command.upgrade(config, "head", sql=True)
command.downgrade(config, "head:base", sql=True)
""",
    )
    assert word in printed
    assert all(f"CREATE TABLE {table}" in printed for table in OURS)
    assert all(f"DROP TABLE {table}" in printed for table in OURS)


def test_airflow_discovers_the_manager_and_the_options(tmp_path: Path) -> None:
    """Plain ``airflow db migrate`` will make our tables, and every option has its documentation."""
    run(
        f"sqlite:///{tmp_path}/a.db",
        tmp_path,
        """
RunDBManager().validate()
required = RunDBManager().get_required_table_names()
assert set(IncomingDBManager.metadata.tables) | {"alembic_version_incoming"} <= required, required
from airflow.providers_manager import ProvidersManager
from airflow.configuration import conf
from airflow_incoming.settings import OPTIONS, read_settings
ProvidersManager().initialize_providers_configuration()
assert set(conf.configuration_description["incoming"]["options"]) == set(OPTIONS)
assert read_settings(lambda name: conf.get("incoming", name)) == read_settings(lambda name: None)
""",
    )


def test_claims_of_the_release_before_are_decided_by_when_they_were_last_seen(
    url: str, tmp_path: Path
) -> None:
    """They are as they were, and the way down and up again only forgets whose the hashes in Redis are."""
    run(
        url,
        tmp_path,
        """
from alembic import command
from datetime import datetime, timedelta, timezone
from uuid import UUID
from sqlalchemy import insert, select
from airflow_incoming.db.tables import dedup
from airflow_incoming.core.messages import Claim, Event
from airflow_incoming.stores import inbox
from airflow_incoming.db.engine import make_engine, transaction
now, week = datetime(2026, 3, 1, tzinfo=timezone.utc), timedelta(days=7)
command.upgrade(manager().get_alembic_config(), "0006")
assert "incoming_installation" not in tables()
with engine.begin() as connection:
    connection.execute(insert(dedup), [dict(hash=hash_, integration_id=UUID(int=1), event_id=UUID(int=2),
        first_seen_at=now, last_seen_at=now, expires_at=now + week) for hash_ in "ab"])
manager().upgradedb(use_migration_files=True)
def claim(hash_, window, later):
    event = Event(id=UUID(int=3), integration_id=UUID(int=1), integration="x", version_id=UUID(int=1),
        received_at=now, body="", headers={}, claim=Claim(hash=hash_, window=window))
    with transaction(make_engine(engine.url.render_as_string(hide_password=False))) as connection:
        return inbox.claim(connection, [event], now=now + later)[event.id]
assert claim("a", timedelta(seconds=5), timedelta(seconds=10)) == UUID(int=3)
assert claim("b", week, timedelta(days=6)) == UUID(int=2)
command.downgrade(manager().get_alembic_config(), "0006")
assert "incoming_installation" not in tables()
with engine.connect() as connection:
    assert len(connection.execute(select(dedup)).all()) == 2
manager().upgradedb(use_migration_files=True)
assert compare() == [], compare()
""",
    )
