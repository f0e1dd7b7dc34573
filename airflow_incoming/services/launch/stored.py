"""What an older release left in Airflow's tables and not every part of Airflow can carry.

Runs that haven't ended and asset events that a run may still get had the numbers themselves, which end
each task that is handed one. This release has them as text (see :mod:`airflow_incoming.core.conf`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from airflow.models.asset import AssetEvent
from airflow.models.dagrun import DagRun
from sqlalchemy import Column, Engine, Select, Table, bindparam, select, update

from airflow_incoming.core.conf import portable
from airflow_incoming.db.engine import reading, transaction

log = logging.getLogger(__name__)

#: Rows that are looked at in one piece.
PAGE = 500
#: Asset events are looked at from the newest back to this age, and so many of them at most.
OLDEST = timedelta(days=7)
MOST_ASSET_EVENTS = 10_000

_run: Table = DagRun.__table__
_event: Table = AssetEvent.__table__


class StoredValues:
    """Makes what is stored portable, once for each dispatcher, page by page."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        self._last_run = 0
        self._next_event: int | None = None
        self._events_left = MOST_ASSET_EVENTS
        self._runs_done = self._events_done = False

    def mend(self) -> bool:
        """Look at a page of rows; tell whether there are more. Raises DatabaseUnavailable."""
        if not self._runs_done:
            self._runs_done = self._mend_runs()
        elif not self._events_done:
            self._events_done = self._mend_events()
        return not (self._runs_done and self._events_done)

    def _mend_runs(self) -> bool:
        query = (
            select(_run.c.id, _run.c.conf)
            .where(
                _run.c.id > self._last_run,
                _run.c.state.in_(("queued", "running")),
                _run.c.run_id.startswith("incoming__", autoescape=True),
            )
            .order_by(_run.c.id)
        )
        rows = self._mend(query, _run.c.conf, portable)
        self._last_run = max(rows, default=0)
        return len(rows) < PAGE

    def _mend_events(self) -> bool:
        query = select(_event.c.id, _event.c.extra).order_by(_event.c.id.desc())
        query = query.where(_event.c.timestamp > self._clock() - OLDEST)
        if self._next_event is not None:
            query = query.where(_event.c.id < self._next_event)
        rows = self._mend(query, _event.c.extra, _portable_extra)
        self._next_event = min(rows, default=0)
        self._events_left -= len(rows)
        return len(rows) < PAGE or self._events_left <= 0

    def _mend(
        self, query: Select[Any], column: Column[Any], mended: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> list[int]:
        """Mend the objects in a column of a page of rows; return the ids of the rows."""
        with reading(self._engine) as connection:
            rows = connection.execute(query.limit(PAGE)).all()
        values = {key: mended(value) for key, value in rows if isinstance(value, dict)}
        changed = [
            {"b_id": key, "b_value": values[key]} for key, value in rows if values.get(key, value) != value
        ]
        if changed:
            table = column.table
            statement = update(table).where(table.c.id == bindparam("b_id"))
            with transaction(self._engine) as connection:
                connection.execute(statement.values({column.name: bindparam("b_value")}), changed)
            said = "%d rows of %s held numbers that Airflow can't carry; they are text now"
            log.warning(said, len(changed), table.name)
        return [key for key, _ in rows]


def _portable_extra(extra: dict[str, Any]) -> dict[str, Any]:
    """Return what an asset event carries; a watcher's is wrapped by Airflow, and others' is theirs."""
    payload = extra.get("payload")
    if isinstance(payload, dict) and "_incoming.event_id" in payload:
        return {**extra, "payload": portable(payload)}
    return portable(extra) if "_incoming.event_id" in extra else extra
