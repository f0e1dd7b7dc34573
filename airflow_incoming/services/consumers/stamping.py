"""One time for the asset events of a transaction, and for the entries in the queue that they ask by."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import datetime, timezone

from sqlalchemy import Connection, delete, func, select, update

from airflow_incoming.services import airflow_tables as t
from airflow_incoming.services.consumers.entries import ask, lost
from airflow_incoming.services.consumers.moments import ahead, lock_dags, next_moment

#: Seconds for which a scheduler is waited for that is making a run of a consumer, and between two looks.
#: Not longer: all other events of the batch wait, too, and the sweep finds what a scheduler misses.
PATIENCE, PAUSE = 0.05, 0.01


def stamp(connection: Connection, asset_event_ids: Sequence[int]) -> None:
    """Give asset events that were made in this transaction the time by which runs will get all of them.

    Call it last before the commit: until then no scheduler makes a run of their consumers. Who is not
    queued (a paused DAG, one of another team) stays so. A handful of statements, however many events.
    """
    now = datetime.now(timezone.utc)
    made = _first_times(connection, asset_event_ids)
    asset_ids = sorted(made)
    asked = _asked(connection, asset_ids)
    taken = lost(connection, asset_ids) - asked
    dag_ids = {dag_id for _, dag_id in asked | taken}
    locked = _lock(connection, dag_ids)
    far = ahead(connection, dag_ids, now) if dag_ids else set()
    moment = next_moment(connection, dag_ids - far, now)
    connection.execute(
        update(t.asset_event).where(t.asset_event.c.id.in_(asset_event_ids)).values(timestamp=moment)
    )
    if far:
        _take_back(connection, asset_ids, far, since=min(made.values()))
    connection.execute(
        update(t.queue)
        .where(t.queue.c.asset_id.in_(asset_ids), t.queue.c.target_dag_id.in_(sorted(locked - far)))
        .values(created_at=moment)
    )
    # Those entries that a scheduler has taken since the events were made, and those it hasn't taken yet.
    again = {(asset_id, dag_id) for asset_id, dag_id in taken if dag_id in locked - far}
    if busy := dag_ids - locked - far:
        again |= _unlocked(connection, asset_ids, busy)
    if again:
        ask(connection, again, moment)


def _first_times(connection: Connection, asset_event_ids: Sequence[int]) -> dict[int, datetime]:
    """Return the assets of asset events, each with the time of its first."""
    query = (
        select(t.asset_event.c.asset_id, func.min(t.asset_event.c.timestamp).label("first"))
        .where(t.asset_event.c.id.in_(asset_event_ids))
        .group_by(t.asset_event.c.asset_id)
    )
    return {row.asset_id: row.first for row in connection.execute(query)}


def _unlocked(
    connection: Connection, asset_ids: Collection[int], dag_ids: Collection[str]
) -> set[tuple[int, str]]:
    """Return the entries that a scheduler, which makes runs of these DAGs just now, has not taken for it."""
    query = select(t.queue.c.asset_id, t.queue.c.target_dag_id).where(
        t.queue.c.asset_id.in_(asset_ids), t.queue.c.target_dag_id.in_(sorted(dag_ids))
    )
    rows = connection.execute(query.with_for_update(skip_locked=True))
    return {(row.asset_id, row.target_dag_id) for row in rows}


def _asked(connection: Connection, asset_ids: Collection[int]) -> set[tuple[int, str]]:
    query = select(t.queue.c.asset_id, t.queue.c.target_dag_id).where(t.queue.c.asset_id.in_(asset_ids))
    return {(row.asset_id, row.target_dag_id) for row in connection.execute(query)}


def _take_back(
    connection: Connection, asset_ids: Collection[int], dag_ids: Collection[str], *, since: datetime
) -> None:
    """Don't ask for runs of DAGs whose times a wrong clock has spoilt; the sweep makes them.

    A scheduler that is asked would give such a run what an earlier one had.
    """
    connection.execute(
        delete(t.queue)
        .where(t.queue.c.asset_id.in_(asset_ids), t.queue.c.target_dag_id.in_(sorted(dag_ids)))
        .where(t.queue.c.created_at >= since)
    )


def _lock(connection: Connection, dag_ids: Collection[str]) -> set[str]:
    """Lock DAGs, and go on after a while without those that somebody else keeps; return which are locked.

    Then a scheduler may miss the events, and the sweep finds them.
    """
    end = time.monotonic() + PATIENCE
    locked: set[str] = set()
    while missing := set(dag_ids) - locked:
        locked |= lock_dags(connection, missing)
        if locked >= missing or time.monotonic() > end:
            return locked
        time.sleep(PAUSE)
    return locked
