"""Finds the asset events of our events, each once, and notes for which DAGs no run has them yet."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Text, cast, func, select
from sqlalchemy.orm import Session

from airflow_incoming.core.conf import EVENT_ID, conf_in
from airflow_incoming.db.tables import event as incoming_event
from airflow_incoming.services import airflow_tables as t
from airflow_incoming.services.consumers.deletions import deletions, oldest_runs
from airflow_incoming.services.consumers.outlook import assets_named
from airflow_incoming.services.watchers import BY_USERS, event_named_by
from airflow_incoming.stores import unconsumed
from airflow_incoming.stores.unconsumed import Mark, Unconsumed

#: Asset events that are looked at in one transaction, and of whose contents at a time.
LOOKED_AT, READ = 1000, 50
#: How long an id that isn't there may still come: transactions don't commit in the order of their ids.
#: And how many such ids are remembered at most.
LATE, MOST_MISSING = timedelta(minutes=10), 500
#: An asset event that is looked at later than this may have been in a run that is deleted already.
PROMPT = timedelta(minutes=1)
#: One that is older than this, and older than all runs, was in a run that was cleaned away: not just late.
LONG = timedelta(hours=1)
#: How far the first look of all goes back.
FIRST_LOOK = timedelta(days=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An asset event that carries an event of ours."""

    id: int
    asset_id: int
    event_id: UUID
    timestamp: datetime
    by_watcher: bool
    #: Somebody may have made it up.
    is_doubtful: bool = False


def is_anything_new(connection: Connection) -> bool:
    """Tell, without locking anything, whether there are asset events that nobody has looked at."""
    mark = unconsumed.read_mark(connection)
    if mark is None:
        return True
    some = select(t.asset_event.c.id).limit(1)
    questions = [some.where(t.asset_event.c.id > mark.seen)]
    if mark.missing:
        questions.append(some.where(t.asset_event.c.id.in_(mark.missing)))
    return any(connection.execute(question).first() is not None for question in questions)


def discover(session: Session, now: datetime) -> bool:
    """Look at the next asset events; tell whether there are more. Nothing, where somebody else does."""
    connection = session.connection()
    mark = unconsumed.lock_mark(connection)
    if mark is None:
        if unconsumed.read_mark(connection) is None:
            unconsumed.begin(connection, _before(connection, now - FIRST_LOOK))
            return True
        return False
    ids = _next_ids(connection, mark)
    found = _ours(connection, ids)
    unconsumed.add(connection, _waiting(session, found, now))
    new = [one for one in ids if one > mark.seen]
    unconsumed.move(connection, _moved(mark, ids, now))
    return len(new) >= LOOKED_AT


def _next_ids(connection: Connection, mark: Mark) -> list[int]:
    event = t.asset_event
    new = select(event.c.id).where(event.c.id > mark.seen).order_by(event.c.id).limit(LOOKED_AT)
    late = select(event.c.id).where(event.c.id.in_(mark.missing))
    arrived = list(connection.scalars(late)) if mark.missing else []
    return [*arrived, *connection.scalars(new)]


def _moved(mark: Mark, ids: Sequence[int], now: datetime) -> Mark:
    """Return the mark behind these ids; those that are skipped are missing, for as long as they may come."""
    came = set(ids)
    missing = {one: at for one, at in mark.missing.items() if one not in came and now - at < LATE}
    seen = mark.seen
    for one in sorted(one for one in ids if one > mark.seen):
        skipped = range(max(seen + 1, one - MOST_MISSING), one)
        missing |= dict.fromkeys(skipped, now)
        seen = one
    return Mark(seen=seen, missing=dict(sorted(missing.items())[-MOST_MISSING:]))


def _ours(connection: Connection, ids: Sequence[int]) -> list[Found]:
    """Return those of the asset events that carry an event of ours: made by no task, for no partition."""
    event = t.asset_event
    content = cast(event.c.extra, Text)
    found: list[Found] = []
    for start in range(0, len(ids), READ):
        query = (
            select(event.c.id, event.c.asset_id, event.c.timestamp, content.label("content"))
            .where(event.c.id.in_(ids[start : start + READ]))
            .where(event.c.source_dag_id.is_(None), event.c.partition_key.is_(None))
            .where(content.contains(f'"{EVENT_ID}"', autoescape=True))
        )
        found += [one for row in connection.execute(query) if (one := _found(row)) is not None]
    return _genuine(connection, found)


def _found(row: Row[Any]) -> Found | None:
    extra = json.loads(row.content)
    conf, by_watcher = conf_in(extra)
    event_id = event_named_by(conf)
    is_doubtful = isinstance(extra, dict) and BY_USERS in extra
    if event_id is None or (by_watcher and is_doubtful):
        return None
    return Found(
        id=row.id,
        asset_id=row.asset_id,
        event_id=event_id,
        timestamp=row.timestamp,
        by_watcher=by_watcher,
        is_doubtful=is_doubtful,
    )


def _genuine(connection: Connection, found: Sequence[Found]) -> list[Found]:
    """Return what dispatchers and watchers have made, and no user of Airflow's API in their name.

    Airflow marks what such users make. A sender's body may have a field of that name, so our events are
    asked which assets they have updated.
    """
    doubtful = {one.event_id for one in found if one.is_doubtful}
    if not doubtful:
        return list(found)
    query = select(incoming_event.c.id, incoming_event.c.started).where(incoming_event.c.id.in_(doubtful))
    targets = {
        row.id: {each["asset"] for each in row.started or () if each.get("asset")}
        for row in connection.execute(query)
    }
    named = assets_named(connection, set().union(*targets.values())) if any(targets.values()) else {}
    return [
        one
        for one in found
        if not one.is_doubtful or named.get(one.asset_id) in targets.get(one.event_id, set())
    ]


def _waiting(session: Session, found: Sequence[Found], now: datetime) -> Iterable[Unconsumed]:
    """Return which DAGs wait for which of them: those that their assets scheduled when they came."""
    if not found:
        return []
    connection = session.connection()
    consumers = _consumers(session, {one.asset_id for one in found})
    got = _got(connection, [one.id for one in found])
    dag_ids = {each.dag_id for some in consumers.values() for each in some}
    gone = _Gone.of(connection, found, dag_ids, now)
    return [
        Unconsumed(dag_id=each.dag_id, asset_event_id=one.id, event_id=one.event_id, since=one.timestamp)
        for one in found
        for each in consumers.get(one.asset_id, ())
        if each.since < one.timestamp
        and (one.by_watcher or not each.only_by_watchers)
        and (each.dag_id, one.id) not in got
        and not gone.may_have(one, each.dag_id)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gone:
    """What is known of runs that are gone, by DAG."""

    now: datetime
    deleted: Mapping[str, datetime]
    oldest: Mapping[str, datetime]

    @classmethod
    def of(
        cls, connection: Connection, found: Sequence[Found], dag_ids: Collection[str], now: datetime
    ) -> _Gone:
        since = min(one.timestamp for one in found)
        return cls(
            now=now,
            deleted=deletions(connection, dag_ids, since=since) if now - since > PROMPT else {},
            oldest=oldest_runs(connection, dag_ids) if now - since > LONG else {},
        )

    def may_have(self, one: Found, dag_id: str) -> bool:
        """Tell whether a run that is gone may have had it."""
        age, deleted, oldest = self.now - one.timestamp, self.deleted.get(dag_id), self.oldest.get(dag_id)
        if deleted is not None and one.timestamp <= deleted and age > PROMPT:
            return True
        return oldest is not None and one.timestamp < oldest and age > LONG


@dataclass(frozen=True, kw_only=True, slots=True)
class _Consumer:
    """A DAG that an asset schedules ``since`` then."""

    dag_id: str
    since: datetime
    only_by_watchers: bool


def _consumers(session: Session, asset_ids: Collection[int]) -> Mapping[int, list[_Consumer]]:
    """Return the DAGs that assets schedule, but for those that go by partitions, or by teams not ours."""
    query = (
        select(t.reference.c.asset_id, t.reference.c.dag_id, t.reference.c.created_at)
        .join(t.dag, t.dag.c.dag_id == t.reference.c.dag_id)
        .where(t.reference.c.asset_id.in_(sorted(asset_ids)))
        .where(t.dag.c.timetable_partitioned.is_(False))
    )
    rows = session.connection().execute(query).all()
    closed, guarded = _of_teams(session, {row.dag_id for row in rows}, asset_ids)
    consumers: dict[int, list[_Consumer]] = {}
    for row in rows:
        pair = (row.asset_id, row.dag_id)
        if pair not in closed:
            consumer = _Consumer(dag_id=row.dag_id, since=row.created_at, only_by_watchers=pair in guarded)
            consumers.setdefault(row.asset_id, []).append(consumer)
    return consumers


def _of_teams(
    session: Session, dag_ids: Collection[str], asset_ids: Collection[int]
) -> tuple[set[tuple[int, str]], set[tuple[int, str]]]:
    """Return the pairs of asset and DAG that get nothing of ours, and those that get it from watchers only.

    As Airflow queues them: a sender and a watcher belong to no team.
    """
    from airflow.configuration import conf

    if not conf.getboolean("core", "multi_team", fallback=False):
        return set(), set()
    from airflow.models.dag import DagModel

    teams = DagModel.get_dag_id_to_team_name_mapping(sorted(dag_ids), session=session)
    in_teams = [dag_id for dag_id, team in teams.items() if team is not None]
    query = select(t.reference.c.asset_id, t.reference.c.dag_id, t.reference.c.allow_global_producers).where(
        t.reference.c.dag_id.in_(in_teams), t.reference.c.asset_id.in_(sorted(asset_ids))
    )
    rows = session.connection().execute(query).all()
    guarded = {(row.asset_id, row.dag_id) for row in rows if row.allow_global_producers}
    return {(row.asset_id, row.dag_id) for row in rows} - guarded, guarded


def _got(connection: Connection, asset_event_ids: Sequence[int]) -> set[tuple[str, int]]:
    query = (
        select(t.run.c.dag_id, t.consumed.c.event_id)
        .join(t.run, t.run.c.id == t.consumed.c.dag_run_id)
        .where(t.consumed.c.event_id.in_(asset_event_ids))
    )
    return {(row.dag_id, row.event_id) for row in connection.execute(query)}


def _before(connection: Connection, since: datetime) -> int:
    """Return an id before which all asset events are older: a few looks at the primary key."""
    low, high = 0, connection.scalar(select(func.max(t.asset_event.c.id))) or 0
    while low < high:
        middle = (low + high) // 2
        query = (
            select(t.asset_event.c.id, t.asset_event.c.timestamp)
            .where(t.asset_event.c.id > middle)
            .order_by(t.asset_event.c.id)
            .limit(1)
        )
        row = connection.execute(query).first()
        if row is None or row.timestamp >= since:
            high = middle
        else:
            low = row.id
    return low
