"""Looking events up, and sending them once more.

Ids are UUIDv7, so a range of time is a range of ids, and a page begins where the last one ended:
nothing here counts or skips rows, so a page costs the same however many events there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, update

from airflow_incoming.core.matching import ParameterMatch
from airflow_incoming.core.messages import Started
from airflow_incoming.core.records import Backlog, EventRecord
from airflow_incoming.db import tables

#: How far the time in an id may be from the time of receipt: a process that makes more than a thousand
#: ids a second runs ahead, and clocks of servers differ.
SLACK = timedelta(minutes=2)

_event = tables.event
_request = tables.request
_LISTED = [column for column in _event.c if column.name not in ("body", "headers", "query")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """Which events to list, newest first.

    ``before`` is the id that the last page ended with, ``after`` the one that it began with: then the
    events just newer than that are meant. ``upto`` is the newest id that counts.
    """

    integration: str | None = None
    states: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    dedup_hash: str | None = None
    parameter: ParameterMatch | None = None
    before: UUID | None = None
    after: UUID | None = None
    upto: UUID | None = None
    limit: int = 50

    @property
    def needs_scan(self) -> bool:
        """Tell whether no index leads to the events, so that rows have to be looked at one by one."""
        return self.parameter is not None or self.dedup_hash is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plight:
    """What the dispatcher knows beyond an event's record: what it waits for, and until when it retries."""

    waiting_for: str | None
    retry_until: datetime | None


def search(connection: Connection, criteria: Criteria) -> list[EventRecord]:
    """Return the events that meet the criteria, newest first, without bodies and headers.

    With ``after``, those that come next to it. Doesn't look at parameters: see :mod:`.scan`.
    """
    return sorted(
        (_record(row) for row in rows_of(connection, criteria, _LISTED)), key=lambda e: e.id, reverse=True
    )


def rows_of(
    connection: Connection, criteria: Criteria, columns: Sequence[ColumnElement[Any]]
) -> list[Row[Any]]:
    """Return rows in the direction of the search; one look at an index for each state.

    One for all of the states would have to read whatever lies between events of a rare state.
    """
    rows: list[Row[Any]] = []
    for state in criteria.states or (None,):
        query = _select(criteria, columns, state).limit(criteria.limit)
        rows += connection.execute(query)
    rows.sort(key=lambda row: row.id, reverse=criteria.after is None)
    return rows[: criteria.limit]


def count(connection: Connection, criteria: Criteria, *, upto: int) -> int:
    """Count the events that meet the criteria, and stop at ``upto`` and one."""
    total = 0
    everything = replace(criteria, before=None, after=None)
    for state in criteria.states or (None,):
        if total <= upto:
            ids = _select(everything, [_event.c.id], state).limit(upto + 1 - total).subquery()
            total += connection.scalar(select(func.count()).select_from(ids)) or 0
    return total


def read(connection: Connection, event_id: UUID) -> EventRecord | None:
    """Return one event with everything."""
    return next(iter(read_all(connection, [event_id])), None)


def read_all(connection: Connection, event_ids: Sequence[UUID]) -> list[EventRecord]:
    """Return those of the events that there are, with everything, newest first."""
    query = select(_event).where(_event.c.id.in_(event_ids)).order_by(_event.c.id.desc())
    return [_record(row) for row in connection.execute(query)]


def read_plight(connection: Connection, event_id: UUID) -> Plight:
    """Return what an event waits for."""
    query = select(_event.c.waiting_for, _event.c.retry_until).where(_event.c.id == event_id)
    row = connection.execute(query).one_or_none()
    return Plight(
        waiting_for=row and row.waiting_for,
        retry_until=row and row.retry_until,
    )


def sizes(connection: Connection, event_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the length of each event's body, in characters."""
    query = select(_event.c.id, func.length(_event.c.body).label("size")).where(_event.c.id.in_(event_ids))
    return {row.id: row.size for row in connection.execute(query)}


def replays_of(connection: Connection, event_id: UUID, *, limit: int = 50) -> list[EventRecord]:
    """Return the newest copies of an event, newest first."""
    query = select(*_LISTED).where(_event.c.replay_of == event_id).order_by(_event.c.id.desc()).limit(limit)
    return [_record(row) for row in connection.execute(query)]


def duplicates_remembered(connection: Connection, record: EventRecord) -> int:
    """Count the remembered requests that were duplicates of an event; that table is small."""
    query = select(func.count()).where(
        _request.c.integration == record.integration, _request.c.event_id == record.id
    )
    return connection.scalar(query) or 0


def requeue(
    connection: Connection,
    event_ids: Sequence[UUID],
    now: datetime,
    *,
    versions: Mapping[UUID, UUID] | None = None,
) -> set[UUID]:
    """Make failed and dead events due at once; return which of the given ones were.

    ``versions`` names, by integration, the version that they run under from now on.
    """
    query = select(_event.c.id, _event.c.integration_id).where(
        _event.c.id.in_(event_ids), _event.c.state.in_(("failed", "dead"))
    )
    if connection.dialect.name != "sqlite":
        query = query.with_for_update()
    owners = {row.id: row.integration_id for row in connection.execute(query)}
    fresh = {"state": "accepted", "due_at": now, "waiting_for": None, "error": None}
    for integration_id in set(owners.values()):
        version = (versions or {}).get(integration_id)
        ids = [event_id for event_id, owner in owners.items() if owner == integration_id]
        values = fresh | ({} if version is None else {"version_id": version})
        connection.execute(
            update(_event).where(_event.c.id.in_(ids)).values(retry_until=None, ended_at=None, **values)
        )
    return set(owners)


def published_versions(connection: Connection, integration_ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """Return, by integration, the version that is published; without those that are drafts or gone."""
    table = tables.integration
    query = select(table.c.id, table.c.published_version_id).where(
        table.c.id.in_(list(integration_ids)), table.c.published_version_id.is_not(None)
    )
    return {row.id: row.published_version_id for row in connection.execute(query)}


def version_number(connection: Connection, version_id: UUID) -> int | None:
    """Return the number of a version; None where it is gone."""
    return connection.scalar(select(tables.version.c.number).where(tables.version.c.id == version_id))


def set_hash(connection: Connection, event_id: UUID, hash_: str | None) -> None:
    """Note the deduplication hash that an event claims from now on."""
    connection.execute(update(_event).where(_event.c.id == event_id).values(dedup_hash=hash_))


def backlog(connection: Connection) -> Backlog:
    """Count what waits."""
    states = ("accepted", "failed", "dead", "held")
    # Not the smallest received_at: a count alone is read from the index, without any event.
    query = select(_event.c.state, func.count()).where(_event.c.state.in_(states)).group_by(_event.c.state)
    counts: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
    oldest = select(_event.c.received_at).where(_event.c.state == "accepted").order_by(_event.c.id).limit(1)
    return Backlog(
        waiting=counts.get("accepted", 0),
        failed=counts.get("failed", 0),
        dead=counts.get("dead", 0),
        held=counts.get("held", 0),
        oldest=connection.scalar(oldest),
    )


def dead_by_integration(connection: Connection, *, upto: int) -> dict[str, int]:
    """Count the newest ``upto`` dead events by the name of their integration."""
    newest = (
        select(_event.c.integration)
        .where(_event.c.state == "dead")
        .order_by(_event.c.id.desc())
        .limit(upto)
        .subquery()
    )
    query = select(newest.c.integration, func.count()).group_by(newest.c.integration)
    return {row[0]: row[1] for row in connection.execute(query)}


def id_at(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of a millisecond."""
    milliseconds = max(int(moment.timestamp() * 1000), 0)
    return UUID(int=(milliseconds & 0xFFFFFFFFFFFF) << 80 | 7 << 76 | 2 << 62)


def time_of(event_id: UUID) -> int:
    """Return the milliseconds since 1970 that a UUIDv7 begins with."""
    return event_id.int >> 80


def _select(criteria: Criteria, columns: Sequence[ColumnElement[Any]], state: str | None) -> Select[Any]:
    query = select(*columns)
    if criteria.integration is not None:
        query = query.where(_event.c.integration == criteria.integration)
    if state is not None:
        query = query.where(_event.c.state == state)
    for condition in _bounds(criteria):
        query = query.where(condition)
    return query.order_by(_event.c.id.desc() if criteria.after is None else _event.c.id)


def _bounds(criteria: Criteria) -> list[ColumnElement[bool]]:
    """Return the criteria that are ranges: of ids as far as indexes go, of times to be exact."""
    bounds = []
    if criteria.since is not None:
        bounds += [_event.c.id >= id_at(criteria.since - SLACK), _event.c.received_at >= criteria.since]
    if criteria.until is not None:
        bounds += [_event.c.id < id_at(criteria.until + SLACK), _event.c.received_at < criteria.until]
    if criteria.before is not None:
        bounds.append(_event.c.id < criteria.before)
    if criteria.after is not None:
        bounds.append(_event.c.id > criteria.after)
    if criteria.upto is not None:
        bounds.append(_event.c.id <= criteria.upto)
    return bounds


def _record(row: Row[Any]) -> EventRecord:
    fields = dict(row._mapping)
    fields["started"] = tuple(Started(**item) for item in fields["started"] or ())
    return EventRecord(**{name: fields[name] for name in fields if name in _RECORD_FIELDS})


_RECORD_FIELDS = frozenset(EventRecord.__dataclass_fields__)
