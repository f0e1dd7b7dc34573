"""The launcher of dispatchers: both ways behind one port."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from airflow_incoming.core.errors import AlreadyLaunched
from airflow_incoming.core.messages import PendingEvent, Started
from airflow_incoming.services.asset_catalog import active_assets
from airflow_incoming.services.consumers.stamping import stamp
from airflow_incoming.services.dag_catalog import DagCatalog, dag_states
from airflow_incoming.services.launch import trust
from airflow_incoming.services.launch.lookup import NOTHING, lock_assets, look_up, run_id_of, started_by
from airflow_incoming.services.launch.singly import create_run, emit, is_same_run

if TYPE_CHECKING:
    from airflow_incoming.services.launch.together import Together

log = logging.getLogger(__name__)


class AirflowLauncher:
    """Starts the targets of events through Airflow's models. Belongs to one thread."""

    def __init__(self, *, cached_dags: int = 256) -> None:
        self._catalog = DagCatalog(capacity=cached_dags)
        self._together: Together | None = None
        self._doubt: str | None = None
        self._batch = NOTHING
        self._announcements: list[Callable[[], None]] = []
        self._emitted: list[int] = []

    def reserve(self, session: Session, assets: Collection[str]) -> None:
        """Wait for other dispatchers that make events of these assets; call it once, before all else.

        One statement, and none where there are no assets.
        """
        if assets:
            lock_assets(session, assets)

    def prepare(self, session: Session, pending: Sequence[PendingEvent]) -> None:
        """Look up all targets of a batch: three statements, with teams five; none without such targets."""
        self._batch = look_up(session, pending)

    def launch_together(
        self, session: Session, pending: Sequence[PendingEvent]
    ) -> Mapping[UUID, tuple[Started, ...]]:
        """Start those prepared events whose targets allow it, with a few statements for all of them.

        Returns what each of them started, by event; the others are for ``launch``. Opens a savepoint of
        its own: when it raises, which it does without saying because of which event, nothing was made.
        """
        doubt = trust.doubt(session)
        if doubt != self._doubt:
            self._doubt = doubt
            log.info("DAG runs are made %s", f"one by one, because {doubt}" if doubt else "together")
        if doubt:
            return {}
        self._together = self._together or _together(self._catalog)
        return self._together.launch(session, pending, self._batch)

    def launch(self, session: Session, one: PendingEvent) -> tuple[Started, ...]:
        """Start every target of an event, flushed and not committed; runs that exist are left as they are.

        Must run inside a savepoint, which the caller rolls back when this raises: DispatchFailed,
        AlreadyLaunched, TransactionLost, or whatever Airflow and the database come up with.
        """
        configuration = one.configuration
        run_id = run_id_of(one.event)
        batch = self._batch
        if run_id not in batch.run_ids:
            batch = look_up(session, [one])
        started = started_by(one)
        missing = [dag_id for dag_id in configuration.dags if (dag_id, run_id) not in batch.runs]
        for dag_id in missing:
            state = batch.dags.get(dag_id)
            batch.expect_bound(one.event, dag_id)
            dag = self._catalog.get(session, dag_id, state)
            try:
                create_run(session, one, dag, state)
            except IntegrityError as error:
                if is_same_run(error):
                    detail = f"The DAG run {run_id} exists already."
                    raise AlreadyLaunched(detail, started=started) from error
                raise
        # The targets of an event are committed together: a run from before proves the asset events.
        if len(missing) == len(configuration.dags):
            announcements: list[Callable[[], None]] = []
            self._emitted += [
                emit(session, target, batch.assets.get(target), one.conf, announcements)
                for target in configuration.assets
            ]
            self._announcements += announcements
        return started

    def ask_for_runs(self, session: Session) -> None:
        """See to it that runs of the consumers get all asset events of the batch; last before the commit."""
        if self._emitted:
            stamp(session.connection(), self._emitted)
            self._emitted = []

    def announce(self) -> None:
        """Tell Airflow's listeners about the asset events; call it after the commit."""
        announcements = self._announcements
        self.discard()
        for tell in announcements:
            try:
                tell()
            except Exception:  # whatever a plugin does here, the asset events are committed
                log.exception("A listener failed on an asset event")

    def discard(self) -> None:
        """Forget the batch and what would be announced; call it after a rollback."""
        self._announcements = []
        self._emitted = []
        self._batch = NOTHING

    def ready(self, session: Session, dag_ids: Collection[str], asset_uris: Collection[str]) -> set[str]:
        """Return which targets could be served now, as the ``waiting_for`` of the events that wait.

        Two statements for up to 500 DAGs and 500 assets.
        """
        dags = {f"dag:{dag_id}" for dag_id, state in dag_states(session, dag_ids).items() if state.startable}
        return dags | {f"asset:{target}" for target in active_assets(session, asset_uris)}


def _together(catalog: DagCatalog) -> Together:
    # Not before the release is known to be a proven one: other releases may lack what it is made of.
    from airflow_incoming.services.launch.together import Together

    return Together(catalog)
