"""What is sent to PostgreSQL in one message, behind poolers too."""

from __future__ import annotations

from datetime import datetime, timezone
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select

from airflow_incoming.core.errors import DatabaseUnavailable
from airflow_incoming.db import tables
from airflow_incoming.db.at_once import Statement, run_at_once
from airflow_incoming.db.engine import reading
from airflow_incoming.stores.inbox import Inbox
from tests.contract.samples import make_event, random_hash

NOW = datetime.now(timezone.utc)


@pytest.fixture
def inbox(engine: Engine) -> Inbox:
    if engine.dialect.name != "postgresql":
        pytest.skip("other databases get one statement at a time")
    return Inbox(engine)


def append(inbox: Inbox) -> None:
    event = make_event(random_hash(), integration_id=uuid4(), version_id=uuid4(), received_at=NOW)
    assert inbox.append([event], now=NOW) == {event.id: event.id}


def stored(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(tables.event)) or 0


def say(engine: Engine, statement: str) -> None:
    """Say something on the one connection that the pool has."""
    raw = engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute(statement)
    raw.commit()
    raw.close()


def test_a_connection_that_has_forgotten_the_statement_stores_all_the_same(
    engine: Engine, inbox: Inbox
) -> None:
    """A pooler gives each transaction whichever connection is free."""
    append(inbox)
    say(engine, "deallocate all")
    for _ in range(3):
        append(inbox)
    assert stored(engine) == 4


def test_a_connection_that_knows_the_statement_from_somebody_else(engine: Engine, inbox: Inbox) -> None:
    append(inbox)
    raw = engine.raw_connection()
    raw.info.clear()
    raw.close()
    append(inbox)
    assert stored(engine) == 2


def test_a_connection_that_knows_another_releases_statement(engine: Engine, inbox: Inbox) -> None:
    """A pooler keeps what the release before has prepared; ours has a name that no other text has."""
    say(engine, "PREPARE incoming_append AS SELECT 1")
    older = {"types": ["int"], "plain": "SELECT %(given)s", "given": ["%(given)s"]}
    texts = ["SELECT $1", "SELECT $1 + 1"]
    statements = [Statement.named_after_its_text("incoming_append", prepared=text, **older) for text in texts]
    for statement, expected in zip(statements, (1, 2), strict=True):
        for _ in range(2):
            assert run_at_once(engine, statement, {"given": 1}) == [(expected,)]
        raw = engine.raw_connection()
        raw.info.clear()
        raw.close()
    append(inbox)
    assert stored(engine) == 1


def test_nothing_of_a_message_that_fails_remains_and_the_connection_is_fit(
    engine: Engine, inbox: Inbox
) -> None:
    append(inbox)
    say(engine, "alter table incoming_event rename to away")
    with pytest.raises(Exception, match="incoming_event"):
        append(inbox)
    say(engine, "alter table away rename to incoming_event")
    append(inbox)
    assert stored(engine) == 2
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(tables.dedup)) == 2


def test_a_connection_that_is_gone_is_an_outage(engine: Engine, inbox: Inbox) -> None:
    append(inbox)
    raw = engine.raw_connection()
    pid = raw.driver_connection.info.backend_pid
    with reading(engine) as other:
        other.execute(select(func.pg_terminate_backend(pid)))
    raw.close()
    lost = 0
    for _ in range(3):  # whichever of the two connections comes first
        try:
            append(inbox)
        except DatabaseUnavailable:
            lost += 1
    assert lost == 1
