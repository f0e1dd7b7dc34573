"""Looks for asset events that no run has, and asks for them: a chore of dispatchers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from itertools import groupby

from sqlalchemy import Engine, Select, and_, delete, exists, func, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from airflow_incoming.db import tables
from airflow_incoming.db.engine import reading, transaction, translate
from airflow_incoming.services import airflow_tables as t
from airflow_incoming.services.consumers.discovery import discover, is_anything_new
from airflow_incoming.services.consumers.moments import lock_dags
from airflow_incoming.services.consumers.requeueing import requeue
from airflow_incoming.services.consumers.undelivered import undelivered_to
from airflow_incoming.stores import unconsumed

log = logging.getLogger(__name__)


#: DAGs that one look asks after; others have their turn at the next, after events were dispatched.
DAGS = 20
#: The latest runs, of all DAGs, of which one look sees what they have; and how much of it at most.
RUNS, SETTLED = 10_000, 1000


class Sweep:
    """Any number may run: the database lets one of them look, and one at a time ask for runs of a DAG."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        #: Whether there was anything at the last look.
        self.is_lively = True
        self._after = ""

    def sweep(self) -> bool:
        """Look at what is new, and ask for what waits; tell whether to go on at once.

        Costs three reads where there is nothing. Raises DatabaseUnavailable.
        """
        with reading(self._engine) as connection:
            new = is_anything_new(connection)
        more = new and bool(self._act(discover, self._clock()))
        dag_ids = self._startable()
        for dag_id in dag_ids:
            with reading(self._engine) as connection:
                undelivered = undelivered_to(connection, dag_id)
            if undelivered.is_bad or undelivered.is_ahead(self._clock()):
                more = bool(self._act(requeue, dag_id, self._clock())) or more
        self.is_lively = new or bool(dag_ids)
        is_last = len(dag_ids) < DAGS
        self._after = "" if is_last else dag_ids[-1]
        return more or not is_last

    def purge(self) -> int:
        """Forget what DAGs wait for that are deleted; return how much."""
        gone = ~exists().where(t.dag.c.dag_id == tables.unconsumed.c.dag_id)
        with transaction(self._engine) as connection:
            return connection.execute(delete(tables.unconsumed).where(gone)).rowcount

    def _startable(self) -> list[str]:
        """Return the next DAGs that wait for asset events and that a scheduler would make a run of."""
        with reading(self._engine) as connection:
            if unconsumed.is_empty(connection):
                return []
        self._settle()
        with reading(self._engine) as connection:
            return list(connection.scalars(_startable(self._after)))

    def _settle(self) -> None:
        """Forget what the latest runs have of any DAG, a paused one, too: who deletes a run gets no other."""
        with reading(self._engine) as connection:
            got = connection.execute(_got()).all()
        for dag_id, rows in groupby(got, key=lambda row: row.dag_id):
            self._act(_forget, dag_id, [row.asset_event_id for row in rows])

    def _act(self, act: Callable[..., bool], *arguments: object) -> bool:
        try:
            with Session(self._engine, autoflush=False, expire_on_commit=False) as session, session.begin():
                return act(session, *arguments)
        except IntegrityError:  # another dispatcher was faster
            log.debug("Another dispatcher looks for asset events, too", exc_info=True)
            return False
        except SQLAlchemyError as error:
            raise translate(error) from error


def _forget(session: Session, dag_id: str, asset_event_ids: list[int]) -> bool:
    """Forget what a DAG has got; not where somebody else is at it."""
    connection = session.connection()
    if lock_dags(connection, [dag_id]):
        unconsumed.remove(connection, dag_id, asset_event_ids)
    return False


def _got() -> Select[tuple[str, int]]:
    note = tables.unconsumed
    latest = select(func.max(t.run.c.id)).scalar_subquery()
    return (
        select(note.c.dag_id, note.c.asset_event_id)
        .join(t.consumed, t.consumed.c.event_id == note.c.asset_event_id)
        .join(t.run, and_(t.run.c.id == t.consumed.c.dag_run_id, t.run.c.dag_id == note.c.dag_id))
        .where(t.run.c.id > latest - RUNS)
        .order_by(note.c.dag_id)
        .limit(SETTLED)
    )


def _startable(after: str) -> Select[tuple[str]]:
    waits = exists().where(tables.unconsumed.c.dag_id == t.dag.c.dag_id)
    return (
        select(t.dag.c.dag_id)
        .where(t.dag.c.is_paused.is_(False), t.dag.c.is_stale.is_(False))
        .where(t.dag.c.has_import_errors.is_(False), waits)
        .where(t.dag.c.dag_id > after)
        .order_by(t.dag.c.dag_id)
        .limit(DAGS)
    )
