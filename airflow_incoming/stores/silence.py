"""Who has fallen silent: when the newest event of each integration came, also when it is kept no longer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, case, delete, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from airflow_incoming.core.records import Activity
from airflow_incoming.db import tables

_integration = tables.integration
_event = tables.event
_last = tables.last_event


def activity(connection: Connection, names: Iterable[str]) -> dict[str, Activity]:
    """Return when integrations were published and had their newest event: one look at an index for each."""
    query = (
        select(
            _integration.c.name,
            _integration.c.published_at,
            _newest_kept().label("kept"),
            _last.c.at.label("remembered"),
        )
        .outerjoin(_last, _last.c.integration_id == _integration.c.id)
        .where(_integration.c.name.in_(list(names)))
    )
    return {
        row.name: Activity(published_at=row.published_at, last_event_at=_latest(row.kept, row.remembered))
        for row in connection.execute(query)
    }


def remember(connection: Connection) -> int:
    """Write down when each newest event came, before events are deleted; return how many moved on."""
    newest = _newest_kept()
    query = (
        select(_integration.c.id, newest.label("at"), _last.c.at.label("before"))
        .outerjoin(_last, _last.c.integration_id == _integration.c.id)
        .order_by(_integration.c.id)  # in one order, so that nobody deadlocks
    )
    rows = [
        {"integration_id": row.id, "at": row.at}
        for row in connection.execute(query)
        if row.at is not None and (row.before is None or row.before < row.at)
    ]
    if rows:
        connection.execute(_moving_on(connection.dialect.name), rows)
    return len(rows)


def forget_integration(connection: Connection, integration_id: UUID) -> None:
    """Remove what is kept here of an integration that is deleted."""
    connection.execute(delete(_last).where(_last.c.integration_id == integration_id))


def _newest_kept() -> ColumnElement[datetime | None]:
    """Return when the newest event that is kept came, of the integration that the query is about.

    Asked for the newest id of an integration, PostgreSQL may walk through the events of all others.
    So this asks for the last entry of the index up to a name; it is another's where there is none.
    """
    return (
        select(case((_event.c.integration_id == _integration.c.id, _event.c.received_at)))
        .where(_event.c.integration <= _integration.c.name)
        .order_by(_event.c.integration.desc(), _event.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def _moving_on(dialect: str) -> Any:
    """Return the statement that writes a time unless there is a later one."""
    if dialect == "mysql":
        statement = mysql.insert(_last)
        later = case((statement.inserted.at > _last.c.at, statement.inserted.at), else_=_last.c.at)
        return statement.on_duplicate_key_update(at=later)
    upsert = (postgresql if dialect == "postgresql" else sqlite).insert(_last)
    return upsert.on_conflict_do_update(
        index_elements=[_last.c.integration_id],
        set_={"at": upsert.excluded.at},
        where=upsert.excluded.at > _last.c.at,
    )


def _latest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)
