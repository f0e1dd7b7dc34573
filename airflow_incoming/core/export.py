"""Events as CSV and JSON that no spreadsheet and no browser takes for a program.

A cell that begins like a formula gets a ``'`` in front (OWASP, *CSV Injection*); numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any
from urllib.parse import parse_qs

from airflow_incoming.core.errors import RequestRejected
from airflow_incoming.core.flatten import Leaf, flatten
from airflow_incoming.core.payload import parse_json
from airflow_incoming.core.records import EventRecord

#: How many parameters get a column of their own; the others share one, as JSON.
MAX_COLUMNS = 100
OTHERS = "other_parameters"
#: How many events, and characters of their bodies, are held to learn which parameters there are.
LOOKED_AT = 200
LOOKED_AT_SIZE = 8 * 2**20
FACTS = (
    "event_id",
    "integration",
    "state",
    "received_at",
    "ended_at",
    "attempts",
    "error",
    "runs",
    "assets",
    "replay_of",
    "deduplication_hash",
)

#: What has no width: soft hyphen, zero-width space and joiners, direction marks, byte order mark.
_UNSEEN = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
_BEGINNING = "[=+\\-@＝＋－＠]"
#: Also behind a separator: a program that splits at semicolons sees a cell begin there.
_FORMULA = re.compile(
    f"\\A(?=[\\s{_UNSEEN}]*{_BEGINNING}|[\t\r\n])|(?<=[;\t\r\n])(?=[{_UNSEEN}]*{_BEGINNING})"
)


def parameters_of(event: EventRecord) -> dict[str, Leaf]:
    """Return a whole event's parameters: ``body.order.id``, ``query.source``."""
    named = body_parameters(event)
    for name, values in parse_qs(event.query, keep_blank_values=True).items():
        named[f"query.{name}"] = values[0] if len(values) == 1 else json.dumps(values)
    return named


def body_parameters(event: EventRecord) -> dict[str, Leaf]:
    """Return those of its body.

    One that this release can't read, as an older one may have stored it, is one parameter, ``body``.
    """
    body = event.body or "{}"
    try:
        flat = flatten(parse_json(body.encode()), max_parameters=None)
    except RequestRejected:
        return {"body": body}
    return {f"body.{name}": value for name, value in flat.items()}


def as_csv(events: Iterable[EventRecord]) -> Iterator[str]:
    """Return CSV (RFC 4180) line by line; the parameters of the first events get columns of their own."""
    rest = iter(events)
    first: list[EventRecord] = []
    size = 0
    for event in rest:
        first.append(event)
        size += len(event.body or "")
        if len(first) == LOOKED_AT or size > LOOKED_AT_SIZE:
            break
    return csv_lines(chain(first, rest), columns_of(first))


def columns_of(events: Iterable[EventRecord]) -> tuple[str, ...]:
    """Return the parameters that get a column, in the order in which they appear."""
    columns: dict[str, None] = {}
    for event in events:
        for name in parameters_of(event):
            if len(columns) == MAX_COLUMNS:
                return tuple(columns)
            columns[name] = None
    return tuple(columns)


def csv_lines(events: Iterable[EventRecord], columns: Sequence[str]) -> Iterator[str]:
    """Return CSV line by line, its header first; an absent parameter is an empty cell."""
    yield _line((*FACTS, *columns, OTHERS))
    for event in events:
        parameters = parameters_of(event)
        cells: list[Any] = list(_facts(event).values())
        for column in columns:
            cells.append(_value(parameters.pop(column)) if column in parameters else "")
        cells.append(json.dumps(parameters, ensure_ascii=False) if parameters else "")
        yield _line(cells)


def as_json(events: Iterable[EventRecord]) -> Iterator[str]:
    """Return one JSON array, an event on each line."""
    separator = "[\n"
    for event in events:
        text = json.dumps(_facts(event) | {"parameters": parameters_of(event)})
        yield separator + text.replace("<", "\\u003c")
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def _facts(event: EventRecord) -> dict[str, Any]:
    return {
        "event_id": str(event.id),
        "integration": event.integration,
        "state": event.state,
        "received_at": event.received_at.isoformat(),
        "ended_at": None if event.ended_at is None else event.ended_at.isoformat(),
        "attempts": event.attempts,
        "error": event.error,
        "runs": " ".join(f"{one.dag_id}/{one.run_id}" for one in event.started if one.run_id),
        "assets": " ".join(one.asset for one in event.started if one.asset),
        "replay_of": None if event.replay_of is None else str(event.replay_of),
        "deduplication_hash": event.dedup_hash,
    }


def _value(value: Leaf) -> str | int | float:
    if value is None or isinstance(value, bool | dict | list):
        return json.dumps(value)
    return value


def _line(cells: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC).writerow([_cell(cell) for cell in cells])
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return _FORMULA.sub("'", value) if isinstance(value, str) else value
