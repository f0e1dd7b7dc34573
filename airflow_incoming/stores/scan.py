"""Finding events by what no index knows: a parameter's value, a deduplication hash.

Rows are looked at from one end, a chunk at a time, within a budget. The database says which rows may
match (:func:`airflow_incoming.core.matching.clue`), the exact decision falls here, and the answer says
how far it got.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, func, literal, or_, true

from airflow_incoming.core.matching import ParameterMatch, clue, matches
from airflow_incoming.core.records import EventRecord
from airflow_incoming.db import tables
from airflow_incoming.stores.events import Criteria, read_all, rows_of

#: Rows of the first chunk; it doubles while chunks are quick, and bodies are small.
FIRST_CHUNK = 100
LARGEST_CHUNK = 2000
#: Seconds after which a chunk counts as slow.
SLOW = 0.25
#: Characters of bodies that are read at a time.
GROUP_SIZE = 4 * 2**20
GROUP_ROWS = 200

_event = tables.event
#: A number with an exponent outside of text. SQLite's patterns can't say the latter.
_EXPONENT = r"[][,:[:space:]]-?[0-9][0-9.]*[eE][-+0-9]"
_EXPONENT_MYSQL = r"[\[,:[:space:]]-?[0-9][0-9.]*[eE][-+0-9]"
_EXPONENT_SQLITE = "*[0-9][eE][-+0-9]*"


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """When to stop: rows looked at, seconds since the start."""

    rows: int = 100_000
    seconds: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanned:
    """What was found, newest first, and the last id looked at; ``finished`` if there was nothing after it."""

    events: tuple[EventRecord, ...]
    last: UUID | None
    finished: bool


def scan(connection: Connection, criteria: Criteria, budget: Budget) -> Scanned:
    """Return events that meet all criteria, parameter and hash included, without bodies and headers.

    Stops at ``criteria.limit`` events, at the end, or when the budget is spent.
    """
    found: list[EventRecord] = []
    last: UUID | None = None
    end = time.monotonic() + budget.seconds
    rows_left = budget.rows
    chunk = FIRST_CHUNK
    while rows_left > 0:
        started = time.monotonic()
        size = min(chunk, rows_left)
        rows = rows_of(connection, _next(criteria, last, size), _columns(connection, criteria))
        at_end = len(rows) < size
        for event in _decide(connection, criteria, [row for row in rows if row.candidate]):
            found.append(event)
            if len(found) == criteria.limit:
                return _scanned(found, event.id, finished=at_end and event.id == rows[-1].id)
        last = rows[-1].id if rows else last
        if at_end or time.monotonic() >= end:
            return _scanned(found, last, finished=at_end)
        rows_left -= size
        chunk = min(chunk * 2, LARGEST_CHUNK) if time.monotonic() - started < SLOW else max(chunk // 2, 10)
    return _scanned(found, last, finished=False)


def _scanned(found: list[EventRecord], last: UUID | None, *, finished: bool) -> Scanned:
    newest_first = sorted(found, key=lambda event: event.id, reverse=True)
    return Scanned(events=tuple(newest_first), last=last, finished=finished)


def _next(criteria: Criteria, last: UUID | None, limit: int) -> Criteria:
    if last is None:
        return replace(criteria, limit=limit)
    if criteria.after is None:
        return replace(criteria, limit=limit, before=last)
    return replace(criteria, limit=limit, after=last)


def _columns(connection: Connection, criteria: Criteria) -> Sequence[ColumnElement[Any]]:
    conditions = []
    if criteria.dedup_hash is not None:
        conditions.append(_event.c.dedup_hash == criteria.dedup_hash)
    if criteria.parameter is not None:
        conditions.append(_may_match(criteria.parameter, connection.dialect.name))
    candidate = and_(*conditions) if conditions else true()
    size = func.length(_event.c.body) if criteria.parameter is not None else literal(0)
    return [_event.c.id, candidate.label("candidate"), size.label("size")]


def _decide(connection: Connection, criteria: Criteria, candidates: Sequence[Any]) -> Iterator[EventRecord]:
    """Read the candidates, a few at a time, and give those that match, in the order of the search."""
    for group in _groups(candidates):
        events = {event.id: event for event in read_all(connection, group)}
        for event_id in group:
            event = events.get(event_id)
            if event is not None and _matches(event, criteria.parameter):
                yield replace(event, body=None, headers=None)


def _groups(candidates: Sequence[Any]) -> Iterator[list[UUID]]:
    group: list[UUID] = []
    size = 0
    for row in candidates:
        if group and (size + row.size > GROUP_SIZE or len(group) == GROUP_ROWS):
            yield group
            group, size = [], 0
        group.append(row.id)
        size += row.size
    if group:
        yield group


def _matches(event: EventRecord, match: ParameterMatch | None) -> bool:
    if match is None:
        return True
    return matches(match, body=event.body or "{}", headers=event.headers or {}, query=event.query)


def _may_match(match: ParameterMatch, dialect: str) -> ColumnElement[bool]:
    """Return the clue as SQL on the column that the parameter is in."""
    column: ColumnElement[str] = {
        "body": _event.c.body,
        "header": cast(_event.c.headers, Text),
        "query": _event.c.query,
    }[match.source]
    contains = func.strpos if dialect == "postgresql" else func.instr
    hint = clue(match)
    conditions: list[ColumnElement[bool]] = [contains(column, word) > 0 for word in hint.words]
    if hint.number is not None:
        conditions.append(or_(contains(column, hint.number) > 0, _has_exponent(column, dialect)))
    if not conditions:
        return true()
    certain = and_(*conditions)
    return certain if hint.hidden_by is None else or_(certain, contains(column, hint.hidden_by) > 0)


def _has_exponent(column: ColumnElement[str], dialect: str) -> ColumnElement[bool]:
    if dialect == "sqlite":
        return column.op("GLOB", is_comparison=True)(_EXPONENT_SQLITE)
    return column.regexp_match(_EXPONENT_MYSQL if dialect == "mysql" else _EXPONENT)
