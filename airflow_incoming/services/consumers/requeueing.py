"""Asks for runs that will have what a DAG has not got yet, and forgets what it has got."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, select, update
from sqlalchemy.orm import Session

from airflow_incoming.services import airflow_tables as t
from airflow_incoming.services.consumers.clocks import run_at_once
from airflow_incoming.services.consumers.conditions import is_met
from airflow_incoming.services.consumers.deletions import deletions
from airflow_incoming.services.consumers.entries import ask
from airflow_incoming.services.consumers.moments import lock_dags, next_moment
from airflow_incoming.services.consumers.runs import create_run
from airflow_incoming.services.consumers.undelivered import Undelivered, UndeliveredEvent, undelivered_to
from airflow_incoming.stores import unconsumed

log = logging.getLogger(__name__)


def requeue(session: Session, dag_id: str, now: datetime) -> bool:
    """Ask for what a DAG waits for, if nobody makes a run of it just now; tell whether there may be more.

    What came after its last run is asked for as Airflow does, by an entry in the queue of that asset alone:
    a condition of several assets still waits for the others. What came too late for a run that looked
    back at its time gets a run of its own, where its assets alone are enough for the condition. And so does
    all of it where a wrong clock is in the way.
    """
    connection = session.connection()
    if not lock_dags(connection, [dag_id]):
        return False
    undelivered = undelivered_to(connection, dag_id)
    if settled := undelivered.settled:
        unconsumed.remove(connection, dag_id, settled)
    if undelivered.unsettled:
        undelivered = _without_deleted(connection, dag_id, undelivered)
    if undelivered.is_ahead(now):
        run_at_once(session, dag_id, undelivered, now)
        return undelivered.is_cut and bool(settled)
    asked = list(undelivered.stranded)
    if late := undelivered.late:
        asked += _catch_up(session, dag_id, late, undelivered.floor, now)
    if asked:
        # No later than the newest of them: so a backlog of thousands isn't given to one run.
        moment = max(undelivered.upto, *(one.timestamp for one in asked))
        ask(connection, {(one.asset_id, dag_id) for one in asked}, moment)
        log.info("DAG %s is asked again to run for %d asset events that no run has", dag_id, len(asked))
    return undelivered.is_cut and bool(settled)


def _without_deleted(connection: Connection, dag_id: str, undelivered: Undelivered) -> Undelivered:
    """Forget what was in a run that somebody deleted before it was seen to be in that run."""
    since = min(one.timestamp for one in undelivered.unsettled)
    upto = deletions(connection, [dag_id], since=since).get(dag_id)
    if upto is None:
        return undelivered
    gone = {one.id for one in undelivered.unsettled if one.timestamp <= upto}
    unconsumed.remove(connection, dag_id, sorted(gone))
    return replace(undelivered, waiting=[one for one in undelivered.waiting if one.id not in gone])


def _catch_up(
    session: Session, dag_id: str, late: Sequence[UndeliveredEvent], floor: datetime, now: datetime
) -> list[UndeliveredEvent]:
    """Make a run of what came too late, or make it newer; return what has to be asked for."""
    connection = session.connection()
    asset_ids = {one.asset_id for one in late}
    if is_met(connection, dag_id, asset_ids):
        if create_run(session, dag_id, [one.id for one in late], run_after=floor):
            unconsumed.remove(connection, dag_id, [one.id for one in late])
        return []
    return _renewed(connection, dag_id, late, now)


def _renewed(
    connection: Connection, dag_id: str, late: Sequence[UndeliveredEvent], now: datetime
) -> list[UndeliveredEvent]:
    """Give what came too late a time after the last run, where no other DAG has got it: that would again."""
    asset_ids = {one.asset_id for one in late}
    query = select(t.reference.c.dag_id).where(t.reference.c.asset_id.in_(asset_ids)).distinct()
    others = set(connection.scalars(query)) - {dag_id}
    if not others <= lock_dags(connection, others):
        return []
    ids = [one.id for one in late]
    got = set(connection.scalars(select(t.consumed.c.event_id).where(t.consumed.c.event_id.in_(ids))))
    free = [one for one in late if one.id not in got]
    moment = next_moment(connection, {dag_id, *others}, now)
    connection.execute(
        update(t.asset_event).where(t.asset_event.c.id.in_([one.id for one in free])).values(timestamp=moment)
    )
    return [replace(one, timestamp=moment) for one in free]
