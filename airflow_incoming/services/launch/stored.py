"""What an older release left in Airflow's tables and not every part of Airflow can carry.

Runs, and asset events that a run may still get, had the numbers themselves, which end each task that is
handed one: also when a run that failed of it is cleared. This release has them as text (see
:mod:`airflow_incoming.core.conf`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from airflow.models.asset import AssetEvent
from airflow.models.dagrun import DagRun
from sqlalchemy import Column, ColumnElement, Engine, Table, Text, bindparam, cast, func, select, update

from airflow_incoming.core.conf import EVENT_ID, carried, conf_in
from airflow_incoming.db.engine import reading, transaction

log = logging.getLogger(__name__)

#: Rows that are looked at in one piece: by the database, which gives those that may have to be mended.
PIECE = 200
#: The newest rows of a table that are looked at; older ones stay as they are.
MOST = 50_000
#: How a number that isn't portable looks in JSON, as databases write it.
_LARGE = r"[0-9]{19}|[0-9][eE]\+?[0-9]"


class StoredValues:
    """Makes what is stored portable, piece by piece; once at its end, again what came since."""

    def __init__(self, engine: Engine) -> None:
        runs: Table = DagRun.__table__
        events: Table = AssetEvent.__table__
        ours = runs.c.run_id.startswith("incoming__", autoescape=True)
        self._places = [
            _Place(engine, runs.c.conf, ours, carried),
            _Place(engine, events.c.extra, events.c.source_dag_id.is_(None), _carried_extra),
        ]

    def mend(self) -> bool:
        """Look at a piece; tell whether there is more. Raises DatabaseUnavailable."""
        return any(place.mend() for place in self._places)


class _Place:
    """One column of JSON objects, and up to which row it was looked at."""

    def __init__(
        self,
        engine: Engine,
        column: Column[Any],
        ours: ColumnElement[bool],
        mended: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._engine = engine
        self._column = column
        self._table: Any = column.table
        self._ours = ours
        self._mended = mended
        self._seen: int | None = None
        self._newest = 0

    def mend(self) -> bool:
        """Mend what is in the next piece; tell whether there is more. At the end it finds out what is new."""
        if self._seen is None or self._seen >= self._newest:
            with reading(self._engine) as connection:
                self._newest = connection.scalar(select(func.max(self._table.c.id))) or 0
            self._seen = max(self._newest - MOST, 0) if self._seen is None else self._seen
            return self._seen < self._newest
        upto = min(self._seen + PIECE, self._newest)
        self._write(self._look(self._seen, upto))
        self._seen = upto
        return True

    def _look(self, after: int, upto: int) -> dict[int, dict[str, Any]]:
        """Return what has to be written, by id."""
        content = cast(self._column, Text)
        query = select(self._table.c.id, content).where(
            self._table.c.id > after,
            self._table.c.id <= upto,
            self._ours,
            content.contains(f'"{EVENT_ID}"', autoescape=True),
            content.regexp_match(_LARGE),
        )
        found = {}
        with reading(self._engine) as connection:
            for key, text in connection.execute(query):
                try:
                    value = json.loads(text)
                except ValueError:  # what nobody can read, no task gets
                    continue
                mended = self._mended(value) if isinstance(value, dict) else value
                if mended != value:
                    found[key] = mended
        return found

    def _write(self, found: dict[int, dict[str, Any]]) -> None:
        if not found:
            return
        statement = update(self._table).where(self._table.c.id == bindparam("b_id"))
        statement = statement.values({self._column.name: bindparam("b_value", type_=self._column.type)})
        with transaction(self._engine) as connection:
            connection.execute(statement, [{"b_id": key, "b_value": value} for key, value in found.items()])
        said = "%d rows of %s held numbers that Airflow can't carry; they are text now"
        log.warning(said, len(found), self._table.name)


def _carried_extra(extra: dict[str, Any]) -> dict[str, Any]:
    """Return what an asset event carries; a watcher's is wrapped by Airflow, and others' is theirs."""
    conf, is_wrapped = conf_in(extra)
    if EVENT_ID not in conf:
        return extra
    return {**extra, "payload": carried(conf)} if is_wrapped else dict(carried(conf))
