"""The rows that something writes into a database, whichever tables they are in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Engine, MetaData, select

Row = dict[str, Any]
Rows = dict[str, list[Row]]

#: What differs from run to run, and is compared by its shape.
DIFFERENT = {
    "dag_run": {"id", "queued_at", "created_at", "updated_at", "context_carrier"},
    "task_instance": {"id", "updated_at", "context_carrier"},
}


class Witness:
    """Looks at all tables of a database, as they are there, whatever models say."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._metadata = MetaData()
        self._metadata.reflect(engine)

    @contextmanager
    def written(self) -> Iterator[Rows]:
        """Collect the rows that the block writes, by table; nothing else may change."""
        rows: Rows = {}
        before = self._all()
        yield rows
        after = self._all()
        for table, now in after.items():
            assert not before[table] - now, f"{table} has lost rows"
            if made := list((now - before[table]).elements()):
                rows[table] = [json.loads(row) for row in made]

    def _all(self) -> dict[str, Counter[str]]:
        with self._engine.connect() as connection:
            return {
                name: Counter(
                    json.dumps(dict(row), default=_plain, sort_keys=True)
                    for row in connection.execute(select(table)).mappings()
                )
                for name, table in self._metadata.tables.items()
            }


def comparable(rows: Rows) -> dict[str, list[Row]]:
    """Return rows without what differs by nature, which is looked at instead."""
    traces = {_trace(run) for run in rows.get("dag_run", [])}
    return {
        table: sorted(
            ({name: _shape(table, name, value, traces) for name, value in row.items()} for row in made),
            key=lambda row: json.dumps(row, sort_keys=True),
        )
        for table, made in rows.items()
    }


def _shape(table: str, name: str, value: Any, traces: set[str]) -> Any:
    if name not in DIFFERENT.get(table, ()):
        return value
    if name == "context_carrier":
        return _carrier_shape(value, traces)
    if name.endswith("_at"):
        passed = datetime.now(timezone.utc) - _time(value)
        return "just now" if abs(passed.total_seconds()) < 60 else value
    # Airflow's ids of task instances are UUIDs that grow with time.
    return f"{len(value)} {value[12 if '-' not in value else 14]}" if isinstance(value, str) else "a number"


def _carrier_shape(value: Any, traces: set[str]) -> Any:
    version, trace, span, flags = _parent(value).split("-")
    assert trace in traces, "a task instance belongs to another trace than its run"
    kept: Mapping[str, Any] = _variables(value)
    others = {name: other for name, other in kept.items() if name != "traceparent"}
    return {"keys": sorted(_decoded(value)), "version": version, "span": len(span), "flags": flags, **others}


def _trace(run: Row) -> str:
    return _parent(run["context_carrier"]).split("-")[1]


def _parent(carrier: Any) -> str:
    return str(_variables(carrier)["traceparent"])


def _variables(carrier: Any) -> dict[str, Any]:
    variables: dict[str, Any] = _decoded(carrier)["__var"]
    return variables


def _decoded(value: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return decoded


def _time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
