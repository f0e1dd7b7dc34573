"""A dispatcher has PostgreSQL count the runs that it makes, where autovacuum is too slow for that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from airflow.models.log import Log
from sqlalchemy import Engine, make_url, text

from airflow_incoming.db.engine import make_engine
from airflow_incoming.db.tables import metadata
from airflow_incoming.services import statistics
from airflow_incoming.services.statistics import Statistics
from tests.contract.test_dispatch import House
from workbench.postgres import PostgresServer

MAKE = "insert into dag_run select n, 'orders', 'run ' || n from generate_series(1, {}) as n"


@pytest.fixture
def airflow(postgres_server: PostgresServer) -> Iterator[Engine]:
    """Our tables, and Airflow's as they matter here: nobody has ever counted what is in them."""
    url = postgres_server.create_database()
    engine = make_engine(url)
    metadata.create_all(engine)
    Log.metadata.tables["log"].create(engine)
    with engine.begin() as connection:
        for table in ("dag_run", "task_instance"):
            columns = "(id int primary key, dag_id text, run_id text) with (autovacuum_enabled = off)"
            connection.execute(text(f"create table {table} {columns}"))
    yield engine
    engine.dispose()
    postgres_server.drop_database(url)


@pytest.fixture
def stranger(airflow: Engine) -> Iterator[Engine]:
    """The same database, for somebody who doesn't own Airflow's tables."""
    role = f"stranger_{airflow.url.database}"
    with airflow.begin() as connection:
        connection.execute(text(f"create role {role} login"))
        connection.execute(text(f"grant select, insert on all tables in schema public to {role}"))
    engine = make_engine(make_url(airflow.url).set(username=role).render_as_string(hide_password=False))
    yield engine
    engine.dispose()
    with airflow.begin() as connection:
        connection.execute(text(f"drop owned by {role}"))
        connection.execute(text(f"drop role {role}"))


def known(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("select reltuples from pg_class where relname = 'dag_run'")) or 0)


def fill(engine: Engine, runs: int) -> None:
    with engine.begin() as connection:
        connection.execute(text("delete from dag_run"))
        connection.execute(text(MAKE.format(runs)))


def test_runs_that_nobody_counted_are_counted(airflow: Engine) -> None:
    """After the first thousand."""
    fill(airflow, 3000)
    counting = Statistics(airflow)
    counting.made(999)
    assert known(airflow) == -1
    counting.made(1)
    assert known(airflow) == 3000


def test_they_are_counted_anew_when_ten_times_as_many_were_made(airflow: Engine) -> None:
    """Not before: autovacuum comes by itself, and looking is cheap."""
    fill(airflow, 200)
    counting = Statistics(airflow)
    counting.made(1000)
    assert known(airflow) == 200
    fill(airflow, 5000)
    counting.made(2000)
    assert known(airflow) == 200
    counting.made(1000)
    assert known(airflow) == 5000


def test_a_dispatcher_counts_what_it_made(airflow: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs, whatever events they are of."""
    monkeypatch.setattr(statistics, "LOOK_EVERY", 5)
    fill(airflow, 7)
    house = House(airflow)
    house.accept(*['{"order": {"id": 1}}'] * 12)
    assert house.dispatcher.drain().dispatched == 12
    assert known(airflow) == 7


def test_whoever_may_not_is_told_once(
    airflow: Engine, stranger: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL skips tables of others; dispatching goes on."""
    caplog.set_level("INFO")
    fill(airflow, 100)
    counting = Statistics(stranger)
    for _ in range(3):
        counting.made(1000)
    assert known(airflow) == -1
    said = [text for text in caplog.messages if "could not be refreshed" in text]
    assert len(said) == 1
    assert "only the owner" in said[0]


def test_a_table_that_is_locked_is_left_alone(airflow: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """After a second; the next look tries again."""
    caplog.set_level("INFO")
    fill(airflow, 100)
    counting = Statistics(airflow)
    with airflow.begin() as connection:
        connection.execute(text("lock table dag_run in share update exclusive mode"))
        counting.made(1000)
    assert [text for text in caplog.messages if "could not be refreshed" in text]
    assert known(airflow) == -1
    counting.made(1000)
    assert known(airflow) == 100


def test_other_databases_are_not_asked(engine: Engine) -> None:
    """Nor is a database that isn't Airflow's."""
    Statistics(engine).made(5000)
