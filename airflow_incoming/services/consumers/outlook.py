"""What became of asset events at the DAGs that they start: the run that has one, or what it waits for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Text, cast, func, or_, select

from airflow_incoming.core.conf import EVENT_ID
from airflow_incoming.core.records import EventRecord
from airflow_incoming.db import tables
from airflow_incoming.services import airflow_tables as t
from airflow_incoming.services.consumers.conditions import holds
from airflow_incoming.services.watchers import watched_assets
from airflow_incoming.stores import unconsumed

#: How long after an event was dispatched its asset event is looked for.
SOON = timedelta(minutes=1)
#: How far asset events are counted that nobody has looked at.
COUNTED = 1000
#: Assets that a reason names.
NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumption:
    """One DAG and an asset event: ``run_id`` and ``state`` of the run that has it, or why none has it.

    ``is_blocked``: it takes somebody, or another asset, for a run to be made.
    """

    asset: str
    dag_id: str
    run_id: str | None = None
    state: str | None = None
    reason: str | None = None
    is_blocked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrears:
    """Asset events of one asset that a DAG has not got yet, and why."""

    dag_id: str
    asset: str
    count: int
    since: datetime
    reason: str
    is_blocked: bool


def arrears(connection: Connection) -> list[Arrears]:
    """Return what DAGs wait to get, by asset, what waits longest first."""
    note, event, asset = tables.unconsumed, t.asset_event, t.asset
    since = func.min(note.c.since)
    query = (
        select(note.c.dag_id, asset.c.name, func.count().label("number"), since.label("since"))
        .join(event, event.c.id == note.c.asset_event_id)
        .join(asset, asset.c.id == event.c.asset_id)
        .group_by(note.c.dag_id, asset.c.name)
        .order_by(since)
    )
    rows = connection.execute(query).all()
    reasons = {dag_id: reason(connection, dag_id) for dag_id in {row.dag_id for row in rows}}
    return [
        Arrears(
            dag_id=row.dag_id,
            asset=row.name,
            count=row.number,
            since=row.since,
            reason=reasons[row.dag_id][0],
            is_blocked=reasons[row.dag_id][1],
        )
        for row in rows
    ]


def unseen(connection: Connection) -> tuple[int, datetime] | None:
    """Return how many asset events, up to COUNTED, no dispatcher has looked at yet, and since when."""
    mark = unconsumed.read_mark(connection)
    event = t.asset_event
    new = select(event.c.timestamp).where(event.c.id > (mark.seen if mark else 0)).order_by(event.c.id)
    times = connection.scalars(new.limit(COUNTED)).all()
    return (len(times), min(times)) if times else None


def reason(connection: Connection, dag_id: str) -> tuple[str, bool]:
    """Return why a DAG has no run yet that gets what came for it, and whether that passes by itself."""
    row = connection.execute(select(t.dag).where(t.dag.c.dag_id == dag_id)).first()
    if row is None:
        return "the DAG is deleted", True
    if row.is_stale:
        return "the DAG is stale: its file is gone, or hasn't been parsed lately", True
    if row.has_import_errors:
        return "the DAG has import errors; repair its file", True
    if row.is_paused:
        return "the DAG is paused; a run gets it when it is unpaused", True
    active = connection.scalar(
        select(func.count()).where(t.run.c.dag_id == dag_id, t.run.c.state.in_(("queued", "running")))
    )
    if row.max_active_runs is not None and active is not None and active >= row.max_active_runs:
        return f"the DAG has {active} active runs, and may have no more (max_active_runs)", False
    queued = _queued(connection, dag_id)
    if queued and not holds(row.asset_expression, queued.keys()):
        return _unmet(connection, dag_id, queued), True
    return "the scheduler makes a run in a moment", False


def consumers_of(connection: Connection, record: EventRecord) -> list[Consumption]:
    """Return what became of an event at the DAGs that its assets, or watchers, start."""
    found: list[Consumption] = []
    targets = [one.asset for one in record.started if one.asset]
    if targets and record.ended_at is not None:
        found += consumption(connection, record.id, assets_named(connection, targets), record.ended_at)
    watched = [one for one in watched_assets(connection) if one.integration == record.integration]
    if watched:
        assets = {one.asset_id: one.asset for one in watched}
        found += consumption(connection, record.id, assets, record.received_at)
    return found


def consumption(
    connection: Connection, event_id: UUID, assets: Mapping[int, str], since: datetime
) -> list[Consumption]:
    """Return what became of an event at the DAGs that assets start; ``since``: when that began.

    ``assets`` are their ids, each with the name to show. Nothing is told of DAGs that have no part in it.
    """
    waiting: dict[int, list[str]] = {}
    for one in unconsumed.of_event(connection, event_id):
        waiting.setdefault(one.asset_event_id, []).append(one.dag_id)
    made = _made(connection, event_id, assets, since, sorted(waiting))
    got = [
        Consumption(
            asset=made[row.event_id], dag_id=row.dag_id, run_id=row.run_id, state=row.state or "queued"
        )
        for row in connection.execute(_runs_with(made))
    ]
    had = {(one.asset, one.dag_id) for one in got}
    missed = [(made[one], dag_id) for one, dag_ids in waiting.items() if one in made for dag_id in dag_ids]
    return got + [
        Consumption(asset=asset, dag_id=dag_id, reason=why, is_blocked=blocked)
        for asset, dag_id in dict.fromkeys(missed)
        if (asset, dag_id) not in had
        for why, blocked in [reason(connection, dag_id)]
    ]


def _made(
    connection: Connection, event_id: UUID, assets: Mapping[int, str], since: datetime, known: Sequence[int]
) -> dict[int, str]:
    """Return the ids of an event's asset events, each with the name of its asset."""
    event = t.asset_event
    query = select(event.c.id, event.c.asset_id).where(
        event.c.asset_id.in_(sorted(assets)), event.c.source_dag_id.is_(None)
    )
    soon = event.c.timestamp.between(since, since + SOON)
    ours = cast(event.c.extra, Text).contains(f'"{EVENT_ID}": "{event_id}"', autoescape=True)
    # Two questions, because no index knows one that is asked with "or".
    rows = [*connection.execute(query.where(event.c.id.in_(known)))] if known else []
    rows += connection.execute(query.where(soon, ours))
    return {row.id: assets[row.asset_id] for row in rows}


def assets_named(connection: Connection, targets: Collection[str]) -> dict[int, str]:
    """Return the ids of the assets behind targets, URIs or names, each with its target."""
    from airflow_incoming.services.asset_catalog import stored_uri

    spelled = {stored_uri(target): target for target in targets} | {target: target for target in targets}
    query = select(t.asset).where(or_(t.asset.c.uri.in_(spelled), t.asset.c.name.in_(list(targets))))
    return {row.id: spelled.get(row.uri) or row.name for row in connection.execute(query)}


def _runs_with(asset_event_ids: Collection[int]) -> Select[Any]:
    return (
        select(t.consumed.c.event_id, t.run.c.dag_id, t.run.c.run_id, t.run.c.state)
        .join(t.run, t.run.c.id == t.consumed.c.dag_run_id)
        .where(t.consumed.c.event_id.in_(sorted(asset_event_ids)))
        .order_by(t.run.c.dag_id, t.run.c.id)
    )


def _queued(connection: Connection, dag_id: str) -> dict[str, str]:
    """Return the URI and name of the assets that ask for a run of a DAG."""
    query = (
        select(t.asset.c.uri, t.asset.c.name)
        .join(t.queue, t.queue.c.asset_id == t.asset.c.id)
        .where(t.queue.c.target_dag_id == dag_id)
    )
    return {row.uri: row.name for row in connection.execute(query)}


def _unmet(connection: Connection, dag_id: str, queued: Mapping[str, str]) -> str:
    query = (
        select(t.asset.c.uri, t.asset.c.name)
        .join(t.reference, t.reference.c.asset_id == t.asset.c.id)
        .where(t.reference.c.dag_id == dag_id)
        .order_by(t.asset.c.name)
    )
    missing = [row.name for row in connection.execute(query) if row.uri not in queued]
    named = _listed(missing[:NAMED], more=len(missing) - NAMED)
    return f"the DAG's condition asks for other assets, too, which haven't come: {named}"


def _listed(names: Sequence[str], *, more: int) -> str:
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
