"""Chooses which events can be started together, and starts them.

Written for the releases of Airflow in ``trust.PROVEN``: import it there only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from airflow_incoming.core.messages import PendingEvent, Started
from airflow_incoming.services.dag_catalog import DagCatalog, check_params
from airflow_incoming.services.launch.lookup import Batch, run_id_of, started_by
from airflow_incoming.services.launch.plans import Plans
from airflow_incoming.services.launch.rows import PlannedRun, write


class Together:
    """Starts events whose every target is a plain DAG. Belongs to one thread, as its catalog does."""

    def __init__(self, catalog: DagCatalog) -> None:
        self._catalog = catalog
        self._plans = Plans()

    def launch(
        self, session: Session, pending: Sequence[PendingEvent], batch: Batch
    ) -> Mapping[UUID, tuple[Started, ...]]:
        """Start the events that it can in a savepoint of its own; return what each of them started.

        What Airflow would refuse is left to Airflow, too, which knows why.
        """
        runs: list[PlannedRun] = []
        started: dict[UUID, tuple[Started, ...]] = {}
        for one in pending:
            planned = self._plan(session, one, batch)
            if planned:
                runs += planned
                started[one.event.id] = started_by(one)
        if runs:
            with session.begin_nested():
                write(session, runs)
        return started

    def _plan(self, session: Session, one: PendingEvent, batch: Batch) -> list[PlannedRun]:
        """Return the runs of an event; none where it can't be started together with others."""
        run_id = run_id_of(one.event)
        dag_ids = one.configuration.dags
        if one.configuration.assets or run_id not in batch.run_ids:
            return []
        if any((dag_id, run_id) in batch.runs for dag_id in dag_ids):
            return []
        planned = (self._plan_run(session, one, dag_id, batch) for dag_id in dag_ids)
        found = [run for run in planned if run is not None]
        return found if len(found) == len(dag_ids) else []

    def _plan_run(self, session: Session, one: PendingEvent, dag_id: str, batch: Batch) -> PlannedRun | None:
        state = batch.dags.get(dag_id)
        try:
            batch.expect_bound(one.event, dag_id)
            dag = self._catalog.get(session, dag_id, state)
            plan = self._plans.plan(dag, state) if state is not None else None
            if plan is not None and len(dag.params) > 0:
                check_params(dag, one.conf)
        except SQLAlchemyError:
            raise
        except Exception:  # noqa: BLE001  # whatever is wrong with a DAG or its data: Airflow shall say it
            return None
        return None if plan is None else PlannedRun(event=one.event, conf=one.conf, plan=plan)
