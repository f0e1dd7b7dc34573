"""Statements that reach PostgreSQL in one message: one round trip, and one transaction.

Sent through psycopg2 itself. What SQLAlchemy adds to each execution, and what PostgreSQL takes to understand
a long statement, would be two thirds of the time that a few events take; its pool and its knowledge of errors
are used all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from airflow_incoming.db.engine import LIMIT_TRANSACTION, is_read_only, translate

_PREPARED = "incoming_prepared"
#: Behind a pooler the next message may reach a connection that knows no statement of ours, or the same.
_UNKNOWN, _KNOWN = "26000", "42P05"


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A statement as it is, and how it is prepared under a name and then called, which it mostly is."""

    name: str
    plain: str
    prepare: str
    call: str

    @classmethod
    def named_after_its_text(
        cls, stem: str, *, types: Iterable[str], plain: str, prepared: str, given: Iterable[str]
    ) -> Statement:
        """Return a statement whose name no other text has.

        A pooler keeps what one process has prepared for the next one, which may be of another release: by a
        name that stays, that one would run this one's statement.
        """
        prepared = f"({', '.join(types)}) AS {prepared}"
        name = f"{stem}_{hashlib.sha256(prepared.encode()).hexdigest()[:16]}"
        return cls(
            name=name,
            plain=plain,
            prepare=f"PREPARE {name} {prepared}",
            call=f"EXECUTE {name} ({', '.join(given)})",
        )


def run_at_once(
    engine: Engine, statement: Statement, parameters: Mapping[str, Any], *, before: Sequence[str] = ()
) -> list[tuple[Any, ...]]:
    """Run statements in one transaction of their own and return the rows of the last one.

    Raises DatabaseUnavailable as :func:`.engine.transaction` does.
    """
    driver = engine.dialect.loaded_dbapi
    try:
        pooled = engine.raw_connection()
    except SQLAlchemyError as error:
        raise translate(error) from error
    except driver.Error as error:
        raise _translated(engine, error, is_lost=True) from error
    connection: Any = pooled.driver_connection
    try:
        connection.autocommit = True
        return _run(connection, pooled.info, statement, parameters, before)
    except driver.Error as error:
        is_lost = is_read_only(error) or engine.dialect.is_disconnect(error, connection, None)
        if is_lost:
            pooled.invalidate(error)
        raise _translated(engine, error, is_lost=is_lost) from error
    finally:
        if pooled.is_valid and not connection.closed:
            connection.autocommit = False
        pooled.close()


def _run(
    connection: Any,
    info: dict[Any, Any],
    statement: Statement,
    parameters: Mapping[str, Any],
    before: Sequence[str],
) -> list[tuple[Any, ...]]:
    prepared: dict[str, bool] = info.setdefault(_PREPARED, {})
    with connection.cursor() as cursor:
        if statement.name not in prepared:
            prepared[statement.name] = _prepare(cursor, statement)
        text = statement.call if prepared[statement.name] else statement.plain
        message = [LIMIT_TRANSACTION, *before]
        try:
            cursor.execute(";".join([*message, text]), parameters)
        except connection.Error as error:
            if error.pgcode != _UNKNOWN:
                raise
            prepared[statement.name] = False
            cursor.execute(";".join([*message, statement.plain]), parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _prepare(cursor: Any, statement: Statement) -> bool:
    try:
        cursor.execute(statement.prepare)
    except cursor.connection.Error as error:
        return bool(error.pgcode == _KNOWN)
    return True


def _translated(engine: Engine, error: Exception, *, is_lost: bool) -> Exception:
    """Return what SQLAlchemy's error would have been translated to."""
    wrapped = DBAPIError.instance(
        None,
        None,
        error,
        engine.dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=is_lost,
        dialect=engine.dialect,
    )
    assert isinstance(wrapped, SQLAlchemyError)
    return translate(wrapped)
