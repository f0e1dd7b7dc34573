"""What a DAG waits to get, and what of it a scheduler will give it by itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, func, select

from airflow_incoming.db import tables
from airflow_incoming.services import airflow_tables as t
from airflow_incoming.services.consumers.moments import AHEAD, newest_run

#: Asset events of one DAG that are looked at in one transaction, oldest first.
LOOKED_AT = 1000

_BEGINNING = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True, kw_only=True, slots=True)
class UndeliveredEvent:
    """An asset event that a DAG waits to get. ``settled``: it has it, or will never get it."""

    id: int
    asset_id: int
    timestamp: datetime
    settled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Undelivered:
    """What a DAG waits to get, and what a scheduler will give it by itself.

    That are asset events after ``floor``, up to ``upto``, where one of their assets is ``queued``.
    """

    waiting: Sequence[UndeliveredEvent]
    queued: Collection[int]
    floor: datetime
    upto: datetime

    @property
    def is_cut(self) -> bool:
        """Tell whether there may be more than this."""
        return len(self.waiting) >= LOOKED_AT

    @property
    def settled(self) -> list[int]:
        """Return what needn't be waited for any more."""
        return [one.id for one in self.waiting if one.settled]

    @property
    def unsettled(self) -> list[UndeliveredEvent]:
        """Return what is still waited for."""
        return [one for one in self.waiting if not one.settled]

    @property
    def late(self) -> list[UndeliveredEvent]:
        """Return what no scheduler will look back at any more."""
        return [one for one in self.unsettled if one.timestamp <= self.floor]

    @property
    def stranded(self) -> list[UndeliveredEvent]:
        """Return what no entry of the queue asks for."""
        return [
            one
            for one in self.unsettled
            if one.timestamp > self.floor
            and (one.asset_id not in self.queued or one.timestamp > self.upto or self.upto <= self.floor)
        ]

    def is_ahead(self, now: datetime) -> bool:
        """Tell whether a wrong clock's time is in the way, of a run, of the queue, or of an asset event."""
        times = [one.timestamp for one in self.unsettled]
        return bool(times) and max(self.floor, self.upto, *times) > now + AHEAD

    @property
    def is_bad(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.settled or self.late or self.stranded)


def undelivered_to(connection: Connection, dag_id: str) -> Undelivered:
    """Return what a DAG waits to get, the oldest LOOKED_AT of it, and what it will get by itself."""
    waiting = _waiting(connection, dag_id)
    queue = connection.execute(
        select(t.queue.c.asset_id, t.queue.c.created_at).where(t.queue.c.target_dag_id == dag_id)
    ).all()
    # What is older hides nothing of this.
    since = min([one.timestamp for one in waiting if not one.settled], default=None)
    return Undelivered(
        waiting=waiting,
        queued={row.asset_id for row in queue},
        floor=_floor(connection, dag_id, since) if since is not None else _BEGINNING,
        upto=max((row.created_at for row in queue), default=_BEGINNING),
    )


def _waiting(connection: Connection, dag_id: str) -> list[UndeliveredEvent]:
    """Return the oldest LOOKED_AT notes of a DAG, and the oldest of each asset that has none of these.

    So what came of one asset, however much, doesn't hide what a condition asks for beside it.
    """
    event = t.asset_event
    query = _notes(dag_id)
    oldest = connection.execute(query.order_by(tables.unconsumed.c.asset_event_id).limit(LOOKED_AT)).all()
    if len(oldest) < LOOKED_AT:
        return [_to_undelivered(row) for row in oldest]
    others = (
        select(func.min(tables.unconsumed.c.asset_event_id))
        .join(event, event.c.id == tables.unconsumed.c.asset_event_id)
        .where(tables.unconsumed.c.dag_id == dag_id)
        .where(tables.unconsumed.c.asset_event_id > oldest[-1].asset_event_id)
        .where(event.c.asset_id.not_in({row.asset_id for row in oldest} - {None}))
        .group_by(event.c.asset_id)
    )
    ids = connection.scalars(others).all()
    more = connection.execute(query.where(tables.unconsumed.c.asset_event_id.in_(ids))).all() if ids else []
    return [_to_undelivered(row) for row in [*oldest, *more]]


def _notes(dag_id: str) -> Select[Any]:
    note, event, reference = tables.unconsumed, t.asset_event, t.reference
    got = exists().where(
        t.consumed.c.event_id == note.c.asset_event_id,
        t.run.c.id == t.consumed.c.dag_run_id,
        t.run.c.dag_id == note.c.dag_id,
    )
    scheduled = exists().where(
        reference.c.asset_id == event.c.asset_id,
        reference.c.dag_id == note.c.dag_id,
        # A DAG that was deleted and parsed again gets nothing from before.
        reference.c.created_at < event.c.timestamp,
    )
    return (
        select(
            note.c.asset_event_id,
            event.c.asset_id,
            event.c.timestamp,
            got.label("got"),
            scheduled.label("scheduled"),
        )
        .select_from(note.outerjoin(event, event.c.id == note.c.asset_event_id))
        .where(note.c.dag_id == dag_id)
    )


def _to_undelivered(row: Row[Any]) -> UndeliveredEvent:
    return UndeliveredEvent(
        id=row.asset_event_id,
        asset_id=row.asset_id or 0,
        timestamp=row.timestamp or _BEGINNING,
        settled=bool(row.got or row.timestamp is None or not row.scheduled),
    )


def _floor(connection: Connection, dag_id: str, since: datetime) -> datetime:
    """Return the time up to which a scheduler takes a DAG's asset events for old, if it isn't before then."""
    newest = newest_run(connection, [dag_id], since=since)
    if newest is not None:
        return newest
    # Before its first run: what came before it was scheduled by any of its assets. That is no later than
    # what is waited for.
    query = select(func.min(t.reference.c.created_at)).where(t.reference.c.dag_id == dag_id)
    begun: datetime | None = connection.scalar(query)
    return begun or _BEGINNING
