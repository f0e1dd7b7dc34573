"""Hands for a metadata database: deploy DAGs, make events, launch them, look at what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import uuid6
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.models.asset import AssetDagRunQueue, AssetEvent, AssetModel
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from sqlalchemy import Engine, delete, event, select, update
from sqlalchemy.orm import Session

from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event, PendingEvent, Started
from airflow_incoming.services.launch import AirflowLauncher
from tests.integration.launch import samples

BUNDLE = "dags-folder"


class Workbench:
    """Works in sessions of its own, each committed at once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session like the dispatcher's, committed at the end."""
        with Session(self.engine, autoflush=False, expire_on_commit=False) as session, session.begin():
            yield session

    def deploy_samples(self) -> None:
        """Deploy the sample DAGs, and spoil those that have to be spoilt."""
        with self.session() as session:
            if session.get(DagBundleModel, BUNDLE) is None:
                session.add(DagBundleModel(name=BUNDLE))
        self.deploy(*samples.samples())
        unspoilt = ("paused", "paused_on_orders")
        with self.session() as session:
            session.execute(update(DagModel).where(DagModel.dag_id.not_in(unspoilt)).values(is_paused=False))
            session.execute(update(DagModel).where(DagModel.dag_id == "stale").values(is_stale=True))
            session.execute(
                update(DagModel).where(DagModel.dag_id == "broken").values(has_import_errors=True)
            )
            session.execute(delete(SerializedDagModel).where(SerializedDagModel.dag_id == "unserialized"))

    def deploy(self, *dags: DAG) -> None:
        """Write DAGs as Airflow's DAG processor does."""
        with self.session() as session:
            errors: dict[tuple[str, str], str] = {}
            lazy = [LazyDeserializedDAG.from_dag(dag) for dag in dags]
            update_dag_parsing_results_in_db(BUNDLE, None, lazy, errors, None, set(), session)
            assert not errors

    def launch(
        self, launcher: AirflowLauncher, event: Event, conf: Mapping[str, Any] | None = None, **targets: Any
    ) -> tuple[Started, ...]:
        """Launch one event as a batch of its own, in a savepoint, and commit."""
        one = pending(event, Configuration(**targets), conf)
        with self.session() as session:
            launcher.prepare(session, [one])
            with session.begin_nested():
                return launcher.launch(session, one)

    def runs(self, event: Event) -> list[DagRun]:
        """Return the DAG runs of an event, by DAG."""
        with self.session() as session:
            statement = select(DagRun).where(DagRun.run_id.endswith(str(event.id))).order_by(DagRun.dag_id)
            return list(session.scalars(statement))

    def tasks(self, event: Event) -> list[tuple[str, int, str | None]]:
        """Return task id, map index and state of the task instances of an event's runs."""
        with self.session() as session:
            rows = session.execute(
                select(TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state)
                .where(TaskInstance.run_id.endswith(str(event.id)))
                .order_by(TaskInstance.task_id, TaskInstance.map_index)
            )
            return [(task_id, map_index, state) for task_id, map_index, state in rows]

    def asset_events(self, event: Event) -> list[tuple[str, dict[str, Any]]]:
        """Return the asset names and extras of the asset events that carry this event's id."""
        with self.session() as session:
            rows = session.execute(
                select(AssetModel.name, AssetEvent.extra).join(
                    AssetModel, AssetModel.id == AssetEvent.asset_id
                )
            )
            return [(name, extra) for name, extra in rows if extra.get("_incoming.event_id") == str(event.id)]

    def queued_consumers(self) -> list[str]:
        """Return the DAGs that wait for a run because of an asset, and forget them."""
        with self.session() as session:
            found = sorted(session.scalars(select(AssetDagRunQueue.target_dag_id)))
            session.execute(delete(AssetDagRunQueue))
            return found

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Collect the statements that reach the database, but for the limits that begin a transaction."""
        seen: list[str] = []

        def note(_: Any, __: Any, statement: str, *___: Any) -> None:
            if "set_config" not in statement:
                seen.append(statement)

        event.listen(self.engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(self.engine, "before_cursor_execute", note)


def make_event(integration: str = "orders", received_at: datetime | None = None) -> Event:
    """Return an event that nobody has seen yet."""
    return Event(
        id=UUID(str(uuid6.uuid7())),
        integration_id=UUID(int=1),
        integration=integration,
        version_id=UUID(int=2),
        received_at=received_at or datetime.now(timezone.utc),
        body="{}",
        headers={},
    )


def pending(
    event: Event, configuration: Configuration, conf: Mapping[str, Any] | None = None
) -> PendingEvent:
    """Return the event as a dispatcher has it in hand."""
    return PendingEvent(event=event, configuration=configuration, conf=conf or {})
