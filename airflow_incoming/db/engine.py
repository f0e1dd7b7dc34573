"""The engine and the transactions of our stores: a small pool of our own.

A flood of webhooks must not use up the connections that Airflow's UI and API wait for, and a
hanging database must not hold an intake for longer than a sender waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import (
    Connection,
    Engine,
    ExceptionContext,
    Label,
    Table,
    create_engine,
    event,
    literal_column,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    InvalidatePoolError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from airflow_incoming.core.errors import DatabaseBusy, DatabaseUnavailable

#: Seconds that a connection attempt and a wait for a pooled connection may take.
CONNECT_TIMEOUT = 3
#: Seconds that one statement may take, lock waits included.
STATEMENT_TIMEOUT = 10

#: Seconds after which an idle connection is asked whether it lives before it is used again. A busy one
#: isn't: that would cost every batch a round trip, and whoever meets a broken one tries again.
PING_AFTER = 5.0

#: Seconds of silence after which a connection is probed, between probes, and how many go unanswered
#: before it is given up: a server whose machine vanished says nothing, and a COMMIT waits for it.
KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}

_READING = "incoming_reading"
#: What says that a statement or a lock took too long: PostgreSQL's SQLSTATE, MySQL's number.
_OUT_OF_TIME = {"55P03", "57014", 1205, 3024}
#: What a server says that may only be read: it was the primary before a failover.
_READ_ONLY = {"25006", 1290, 1836}

#: Bounds of one transaction on PostgreSQL, not of the connection: behind a pooler it is somebody else's
#: the moment the transaction ends.
LIMIT_TRANSACTION = (
    f"SELECT set_config('statement_timeout', '{STATEMENT_TIMEOUT * 1000}', true),"
    f" set_config('lock_timeout', '{STATEMENT_TIMEOUT * 500}', true),"
    f" set_config('idle_in_transaction_session_timeout', '{STATEMENT_TIMEOUT * 6000}', true)"
)


def make_engine(url: str, *, connect_args: dict[str, Any] | None = None, pool_size: int = 6) -> Engine:
    """Return an engine for a metadata database URL (SQLite, PostgreSQL, MySQL); connects to nothing."""
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    arguments = _connect_args(backend, parsed.get_driver_name()) | (connect_args or {})
    pool: dict[str, Any] = {"pool_recycle": 1800}
    if backend != "sqlite":
        pool |= {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": CONNECT_TIMEOUT}
    if backend == "mysql":
        # As Airflow does. MySQL's default would read old rows after waiting for a lock, and a
        # dispatcher would lock out new events with the gap at the end of the due ones.
        pool["isolation_level"] = "READ COMMITTED"
    if backend == "postgresql" and parsed.get_driver_name() == "psycopg2":
        # Many UPDATEs travel together, and not each after the answer to the one before.
        pool["executemany_mode"] = "values_plus_batch"
    # Parameters are bodies and confs: they never get into an error message, and so into no log.
    engine = create_engine(parsed, connect_args=arguments, hide_parameters=True, **pool)
    _prepare_connections(engine)
    if backend != "sqlite":
        _ping_idle_connections(engine)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Run queries; on SQLite without waiting for writers. Raises DatabaseUnavailable."""
    try:
        with engine.connect().execution_options(**{_READING: True}) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise translate(error) from error


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Run the block in one transaction and commit it.

    Raises DatabaseUnavailable where the database is out of reach, out of time or busy; then nothing
    of the block can be told to be stored, except where the connection broke during COMMIT.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise translate(error) from error


def insert_new(connection: Connection, table: Table) -> Any:
    """Return an INSERT that leaves rows as they are whose ``id`` is there already."""
    if connection.dialect.name == "mysql":
        return mysql.insert(table).on_duplicate_key_update(id=table.c.id)
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing(index_elements=[table.c.id])


#: What time it is for the database, in UTC.
_CLOCKS = {
    "mysql": "utc_timestamp(6)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "postgresql": "now()",
}


def clock_of(connection: Connection) -> Label[datetime]:
    """Return the database's time as a column, ``clock``: it is the same for all hosts."""
    return literal_column(_CLOCKS[connection.dialect.name], UtcDateTime).label("clock")


def translate(error: SQLAlchemyError) -> Exception:
    """Return DatabaseUnavailable for errors that pass by themselves, else the error itself.

    DatabaseBusy, which is one, where somebody else held a lock for too long.
    """
    if isinstance(error, DBAPIError) and _is_out_of_time(error.orig):
        return DatabaseBusy()
    if isinstance(error, OperationalError | InterfaceError | DisconnectionError | PoolTimeout):
        return DatabaseUnavailable()
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return DatabaseUnavailable()
    return error


def is_read_only(error: BaseException) -> bool:
    """Tell whether a driver's error says that the server may only be read."""
    return _code(error) in _READ_ONLY


def _code(error: BaseException | None) -> object:
    """Return a driver's code of an error: a SQLSTATE on PostgreSQL, a number on MySQL."""
    state = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    return state or next(iter(getattr(error, "args", ())), None)


def _is_out_of_time(error: BaseException | None) -> bool:
    return _code(error) in _OUT_OF_TIME or "database is locked" in str(error)


def _connect_args(backend: str, driver: str) -> dict[str, Any]:
    if backend == "postgresql" and driver.startswith("psycopg"):
        return {
            "connect_timeout": CONNECT_TIMEOUT,
            "tcp_user_timeout": STATEMENT_TIMEOUT * 1000,
            **KEEPALIVE,
        }
    if backend == "sqlite":
        return {"timeout": STATEMENT_TIMEOUT, "check_same_thread": False}
    if backend == "mysql" and driver in ("mysqldb", "pymysql"):
        return {
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": STATEMENT_TIMEOUT,
            "write_timeout": STATEMENT_TIMEOUT,
        }
    if backend == "mysql":
        return {"connect_timeout": CONNECT_TIMEOUT}
    return {}


def _prepare_connections(engine: Engine) -> None:
    on_connect = {
        "mysql": ("SET time_zone = '+00:00'", f"SET innodb_lock_wait_timeout = {STATEMENT_TIMEOUT // 2}"),
        "sqlite": ("PRAGMA foreign_keys=ON", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL"),
    }
    on_begin = {"sqlite": _begin_sqlite, "postgresql": _limit_postgresql}

    @event.listens_for(engine, "connect")
    def _on_connect(dbapi_connection: Any, _: Any) -> None:
        if engine.dialect.name == "sqlite":
            # sqlite3 would begin transactions by itself, and too late to reserve the write lock.
            dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        for statement in on_connect.get(engine.dialect.name, ()):
            cursor.execute(statement)
        cursor.close()

    @event.listens_for(engine, "handle_error")
    def _on_error(context: ExceptionContext) -> None:
        if is_read_only(context.original_exception):
            # All our connections lead to it; new ones may lead to the new primary.
            context.is_disconnect = True

    if engine.dialect.name in on_begin:
        event.listen(engine, "begin", on_begin[engine.dialect.name])


def _begin_sqlite(connection: Connection) -> None:
    # Taking the write lock at the start waits for it (busy timeout), where an upgrade of a read lock
    # would fail at once.
    reads = connection.get_execution_options().get(_READING)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _limit_postgresql(connection: Connection) -> None:
    connection.exec_driver_sql(LIMIT_TRANSACTION)


def _ping_idle_connections(engine: Engine) -> None:
    dialect = engine.dialect

    @event.listens_for(engine, "checkin")
    def _on_checkin(_: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(dbapi_connection: Any, record: Any, _: Any) -> None:
        if time.monotonic() - record.info.get("used_at", float("inf")) < PING_AFTER:
            return
        try:
            dialect.do_ping(dbapi_connection)
        except dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError() from error  # the pool connects anew
