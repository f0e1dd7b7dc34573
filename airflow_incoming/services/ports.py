"""What a dispatcher asks of others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event, PendingEvent, Started
from airflow_incoming.services.batches import Tally


class Launcher(Protocol):
    """Makes DAG runs and asset events in the caller's transaction."""

    def reserve(self, session: Session, assets: Collection[str]) -> None:
        """Wait for whoever else makes events of these assets: of all that a transaction will, and first."""

    def prepare(self, session: Session, pending: Sequence[PendingEvent]) -> None:
        """Read once what the whole batch needs."""

    def launch_together(
        self, session: Session, pending: Sequence[PendingEvent]
    ) -> Mapping[UUID, tuple[Started, ...]]:
        """Start as many of the events as can be started together; when it raises, nothing was made."""

    def launch(self, session: Session, one: PendingEvent) -> tuple[Started, ...]:
        """Start every target of an event. Raises DispatchFailed, AlreadyLaunched, TransactionLost."""

    def ask_for_runs(self, session: Session) -> None:
        """Ask for runs of the DAGs that the batch's assets schedule; last before the commit."""

    def ready(self, session: Session, dag_ids: Collection[str], asset_uris: Collection[str]) -> set[str]:
        """Return which targets could be served now, as ``dag:<dag id>`` and ``asset:<uri>``."""

    def announce(self) -> None:
        """Tell listeners what was committed."""

    def discard(self) -> None:
        """Forget what was not committed."""


class EventPublisher(Protocol):
    """Shows accepted events to tasks and assets that wait for them."""

    def publish(
        self,
        connection: Connection,
        events: Sequence[Event],
        configurations: Mapping[UUID, Configuration],
    ) -> None:
        """Publish events, or note in the caller's transaction that this is still to be done."""


class DispatchMeter(Protocol):
    """Measures what dispatchers do."""

    def dispatched(self, tally: Tally, lags: Sequence[float]) -> None:
        """Take note of a committed batch; ``lags`` are seconds from receipt to commit."""
