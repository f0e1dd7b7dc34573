"""Pages of events, in both directions, and all of them as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from uuid import UUID

from sqlalchemy import Engine

from airflow_incoming.core.errors import Conflict
from airflow_incoming.core.records import EventRecord
from airflow_incoming.db.engine import reading
from airflow_incoming.stores import events
from airflow_incoming.stores.events import Criteria
from airflow_incoming.stores.scan import Budget, scan

#: Events that a stream reads at a time, without and with their bodies; characters of these.
STREAM_PAGE = 500
STREAM_GROUP = 25
STREAM_SIZE = 2**20
#: How long a stream may search by what no index knows before it gives its first event.
STREAM_BUDGET = Budget(rows=10_000_000, seconds=10.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class EventPage:
    """Some events, newest first, and how to go on.

    ``older`` goes into ``Criteria.before`` and ``newer`` into ``after``; None where there is nothing.
    ``searched_to`` says that a search has stopped there because its budget was spent.
    """

    events: tuple[EventRecord, ...]
    older: UUID | None = None
    newer: UUID | None = None
    searched_to: datetime | None = None


def find(engine: Engine, criteria: Criteria, budget: Budget | None = None) -> EventPage:
    """Return one page. Raises DatabaseUnavailable."""
    if criteria.needs_scan:
        return _scanned_page(engine, criteria, budget or Budget())
    with reading(engine) as connection:
        found = events.search(connection, replace(criteria, limit=criteria.limit + 1))
    more = len(found) > criteria.limit
    if criteria.after is None:
        page = tuple(found[: criteria.limit])
        return EventPage(
            events=page,
            older=page[-1].id if more else None,
            newer=page[0].id if page and criteria.before else None,
        )
    page = tuple(found[-criteria.limit :])
    return EventPage(events=page, older=page[-1].id if page else None, newer=page[0].id if more else None)


def stream(engine: Engine, criteria: Criteria, *, limit: int) -> Iterator[EventRecord]:
    """Give up to ``limit`` events with everything, newest first; each few in a transaction of their own.

    Raises Conflict where a search takes too long, at any time before the first event.
    """
    if criteria.needs_scan:
        yield from _in_groups(engine, _searched(engine, replace(criteria, limit=limit)))
        return
    left = limit
    at: UUID | None = criteria.before
    while left > 0:
        page = find(engine, replace(criteria, before=at, after=None, limit=min(STREAM_PAGE, left)))
        yield from _in_groups(engine, [event.id for event in page.events])
        left -= len(page.events)
        if page.older is None:
            return
        at = page.older


def moment_of(event_id: UUID) -> datetime:
    """Return the time that an event id was made."""
    return datetime.fromtimestamp(events.time_of(event_id) / 1000, timezone.utc)


def _searched(engine: Engine, criteria: Criteria) -> list[UUID]:
    """Return the ids of what a search finds. Raises Conflict where that would take too long."""
    page = find(engine, criteria, STREAM_BUDGET)
    if page.searched_to is not None:
        raise Conflict(
            f"In {STREAM_BUDGET.seconds:.0f} s the search got back to {page.searched_to:%Y-%m-%d %H:%M} UTC. "
            "Choose an integration, a state or a shorter time range."
        )
    return [event.id for event in page.events]


def _in_groups(engine: Engine, ids: Sequence[UUID]) -> Iterator[EventRecord]:
    for start in range(0, len(ids), STREAM_GROUP):
        left = ids[start : start + STREAM_GROUP]
        while left:
            with reading(engine) as connection:
                taken = fitting(left, events.sizes(connection, left), STREAM_SIZE)
                whole = events.read_all(connection, taken)
            yield from whole
            left = left[len(taken) :]


def fitting(ids: Sequence[UUID], sizes: dict[UUID, int], most: int) -> Sequence[UUID]:
    """Return as many of the first ids as have ``most`` characters together; one at least, if there is one."""
    size = 0
    for position, event_id in enumerate(ids):
        size += sizes.get(event_id, 0)
        if size > most and position:
            return ids[:position]
    return ids


def _scanned_page(engine: Engine, criteria: Criteria, budget: Budget) -> EventPage:
    with reading(engine) as connection:
        scanned = scan(connection, criteria, budget)
    page = scanned.events
    beyond = None if scanned.finished else scanned.last
    spent = beyond is not None and len(page) < criteria.limit
    searched_to = moment_of(beyond) if beyond is not None and spent else None
    if criteria.after is None:
        newer = page[0].id if page and criteria.before else None
        return EventPage(events=page, older=beyond, newer=newer, searched_to=searched_to)
    return EventPage(events=page, older=page[-1].id if page else None, newer=beyond, searched_to=searched_to)
