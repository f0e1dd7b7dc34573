"""The engine: what passes by itself is an outage, and an outage ends by itself."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from airflow_incoming.core.errors import DatabaseBusy, DatabaseUnavailable
from airflow_incoming.db import engine as rules
from airflow_incoming.db import tables
from airflow_incoming.db.engine import make_engine, transaction
from airflow_incoming.stores.inbox import Inbox
from tests.contract.samples import NOW, make_event, random_hash

#: Makes a connection wait half a second for locks, and not the seconds that the product allows.
IMPATIENT = {
    "sqlite": "PRAGMA busy_timeout = 500",
    "postgresql": "SET lock_timeout = '500ms'",
    "mysql": "SET innodb_lock_wait_timeout = 1",
}


def test_a_lock_that_is_held_for_too_long_is_no_lost_connection(engine: Engine) -> None:
    """Who has waited in vain is told so, and doesn't wait once more."""
    inbox = Inbox(engine)
    mine = make_event(random_hash())
    inbox.append([mine], now=NOW)

    @event.listens_for(engine, "begin")
    def hurry(connection: Any) -> None:
        if connection.dialect.name != "sqlite" and threading.current_thread() is threading.main_thread():
            set_local = IMPATIENT[connection.dialect.name].replace("SET lock", "SET LOCAL lock")
            connection.exec_driver_sql(set_local)

    @event.listens_for(engine, "checkout")
    def hurry_sqlite(connection: Any, *_: Any) -> None:
        if engine.dialect.name == "sqlite":
            connection.execute(IMPATIENT["sqlite"])

    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction(engine) as connection:
            connection.execute(tables.dedup.update().values(last_seen_at=NOW))
            locked.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(10)
    try:
        with pytest.raises(DatabaseBusy):
            inbox.append([make_event(mine.claim.hash if mine.claim else None)], now=NOW)
    finally:
        done.set()
        holder.join()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_primary_that_became_a_replica_is_left(engine: Engine) -> None:
    """Its connections are given up, so that the next ones may lead to the new primary."""
    inbox = Inbox(engine)
    database = engine.url.database
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"ALTER DATABASE {database} SET default_transaction_read_only = on"))
    engine.dispose()
    with pytest.raises(DatabaseUnavailable):
        inbox.append([make_event()], now=NOW)
    other = make_engine(engine.url.set(query={"options": "-cdefault_transaction_read_only=off"}))
    with other.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"ALTER DATABASE {database} RESET default_transaction_read_only"))
    other.dispose()
    one = make_event()
    assert inbox.append([one], now=NOW) == {one.id: one.id}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_machine_that_vanished_is_noticed(engine: Engine) -> None:
    """The kernel probes a silent connection after seconds, not after its two hours."""
    with engine.connect() as connection:
        descriptor = connection.connection.dbapi_connection.fileno()  # type: ignore[union-attr]
        with socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as connected:
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    assert idle == rules.KEEPALIVE["keepalives_idle"] == 5
