"""Makes the DAG runs and asset events of an event in the caller's transaction, Airflow's own way.

The caller's part (one launcher per thread, a *new* session with ``expire_on_commit=False`` and
``autoflush=False`` for every batch: Airflow's rows in an old one grow old and many)::

    launcher.prepare(session, pending)               # three statements for the whole batch
    for each event:
        try:
            with session.begin_nested():             # an event that fails leaves nothing behind
                started = launcher.launch(session, event, configuration, conf)
        except AlreadyLaunched as done:              # another dispatcher was faster, and committed
            started = done.started
        except DispatchFailed: ...                   # keep detail, retry and waiting_for
    mark the events; session.commit(); launcher.announce()
    on any rollback: launcher.discard()

``TransactionLost`` means that the whole transaction was ended, not just the savepoint: nothing of
the batch is stored, and the batch has to be taken anew. On SQLite the transaction has to begin with
a BEGIN of its own (``db.engine`` sees to that): a SAVEPOINT that begins one is committed by RELEASE.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NoReturn

from airflow.exceptions import ParamValidationError
from airflow.models.dagrun import DagRun
from airflow.serialization.definitions.assets import SerializedAssetUniqueKey
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from airflow_incoming.core.errors import AlreadyLaunched, DispatchFailed, TransactionLost
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event, PendingEvent, Started
from airflow_incoming.services.asset_catalog import active_assets
from airflow_incoming.services.dag_catalog import DagCatalog, DagState, dag_states, refusal_of_params

log = logging.getLogger(__name__)


def run_id_of(event: Event) -> str:
    """Return the id of the DAG runs of an event, the same at every attempt."""
    return f"incoming__{event.integration}__{event.id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """What the database said about the targets of some events when the batch began."""

    run_ids: frozenset[str]
    dags: Mapping[str, DagState]
    runs: frozenset[tuple[str, str]]
    assets: Mapping[str, SerializedAssetUniqueKey]


_NOTHING = _Batch(run_ids=frozenset(), dags={}, runs=frozenset(), assets={})


class AirflowLauncher:
    """Starts the targets of events through Airflow's models. Belongs to one thread."""

    def __init__(self, *, cached_dags: int = 256) -> None:
        self._catalog = DagCatalog(capacity=cached_dags)
        self._batch = _NOTHING
        self._announcements: list[Callable[[], None]] = []

    def prepare(self, session: Session, pending: Sequence[PendingEvent]) -> None:
        """Look up all targets of a batch: three statements, and none where no event has such targets."""
        self._batch = _look_up(session, [(each.event, each.configuration) for each in pending])

    def launch(
        self, session: Session, event: Event, configuration: Configuration, conf: Mapping[str, Any]
    ) -> tuple[Started, ...]:
        """Start every target of an event, flushed and not committed; runs that exist are left as they are.

        Must run inside a savepoint, which the caller rolls back when this raises: DispatchFailed,
        AlreadyLaunched, TransactionLost, or whatever Airflow and the database come up with.
        """
        batch = self._batch
        if run_id_of(event) not in batch.run_ids:
            batch = _look_up(session, [(event, configuration)])
        runs = [Started(dag_id=dag_id, run_id=run_id_of(event)) for dag_id in configuration.dags]
        assets = [Started(asset=target) for target in configuration.assets]
        missing = [dag_id for dag_id in configuration.dags if (dag_id, run_id_of(event)) not in batch.runs]
        for dag_id in missing:
            try:
                self._create_run(session, event, dag_id, batch, conf)
            except IntegrityError as error:
                if _is_same_run(error):
                    detail = f"The DAG run {run_id_of(event)} exists already."
                    raise AlreadyLaunched(detail, started=(*runs, *assets)) from error
                raise
        # The targets of an event are committed together: a run from before proves the asset events.
        if len(missing) == len(runs):
            announcements: list[Callable[[], None]] = []
            for target in configuration.assets:
                _emit(session, target, batch.assets.get(target), conf, announcements)
            self._announcements += announcements
        return (*runs, *assets)

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
        self._batch = _NOTHING

    def ready(self, session: Session, dag_ids: Collection[str], asset_uris: Collection[str]) -> set[str]:
        """Return which targets could be served now, as the ``waiting_for`` of the events that wait.

        Two statements for up to 500 DAGs and 500 assets.
        """
        dags = {f"dag:{dag_id}" for dag_id, state in dag_states(session, dag_ids).items() if state.startable}
        return dags | {f"asset:{target}" for target in active_assets(session, asset_uris)}

    def _create_run(
        self, session: Session, event: Event, dag_id: str, batch: _Batch, conf: Mapping[str, Any]
    ) -> None:
        state = batch.dags.get(dag_id)
        dag = self._catalog.get(session, dag_id, state)
        try:
            with _only_savepoints(session, dag_id):
                run = dag.create_dagrun(
                    session=session,
                    run_id=run_id_of(event),
                    logical_date=None,
                    data_interval=None,
                    # Schedulers start queued runs in this order: first come, first served.
                    run_after=min(event.received_at, datetime.now(timezone.utc)),
                    conf=dict(conf),
                    run_type=DagRunType.MANUAL,
                    triggered_by=DagRunTriggeredByType.REST_API,
                    triggering_user_name=f"incoming:{event.integration}",
                    state=DagRunState.QUEUED,
                )
        except ParamValidationError as error:
            raise DispatchFailed(refusal_of_params(dag_id, error), retry=False) from error
        if state is None or run.created_dag_version_id != state.version_id:
            raise DispatchFailed(f"DAG {dag_id!r} was changed while the run was made.", retry=True)


@contextmanager
def _only_savepoints(session: Session, dag_id: str) -> Iterator[None]:
    """Keep Airflow from rolling back the whole batch.

    ``create_dagrun`` answers an IntegrityError on its task instances with ``session.rollback()``
    and no exception, which would undo the other events of the batch in silence.
    """

    def refuse() -> NoReturn:
        raise DispatchFailed(f"Airflow could not create the tasks of a run of DAG {dag_id!r}.", retry=True)

    transaction = session.get_transaction()
    session.rollback = refuse  # type: ignore[method-assign]  # of this object, and only meanwhile
    try:
        yield
    finally:
        del session.rollback
    if session.get_transaction() is not transaction:
        raise TransactionLost(f"A run of DAG {dag_id!r} ended the transaction that it was created in.")


def _look_up(session: Session, events: Sequence[tuple[Event, Configuration]]) -> _Batch:
    dag_ids = {dag_id for _, configuration in events for dag_id in configuration.dags}
    targets = {target for _, configuration in events for target in configuration.assets}
    run_ids = frozenset(run_id_of(event) for event, _ in events)
    runs: frozenset[tuple[str, str]] = frozenset()
    if dag_ids:
        found = session.execute(
            select(DagRun.dag_id, DagRun.run_id).where(DagRun.dag_id.in_(dag_ids), DagRun.run_id.in_(run_ids))
        )
        runs = frozenset((dag_id, run_id) for dag_id, run_id in found)
    return _Batch(
        run_ids=run_ids, dags=dag_states(session, dag_ids), runs=runs, assets=active_assets(session, targets)
    )


def _emit(
    session: Session,
    target: str,
    asset: SerializedAssetUniqueKey | None,
    conf: Mapping[str, Any],
    announcements: list[Callable[[], None]],
) -> None:
    # Importing this module resolves [core] asset_manager_class, so not before it is needed.
    from airflow.assets.manager import asset_manager

    # A sender belongs to no team: like a teamless API user, it reaches the DAGs of no team.
    made = asset and asset_manager.register_asset_change(
        asset=asset,
        extra=dict(conf),
        session=session,
        source_is_api=True,
        api_user_teams=set(),
        callback_sink=announcements,
    )
    if made is None:
        raise DispatchFailed(
            f"There is no active asset {target!r}. A DAG that is parsed has to name it.",
            retry=True,
            waiting_for=None if asset else f"asset:{target}",
        )


def _is_same_run(error: IntegrityError) -> bool:
    # PostgreSQL and MySQL name the constraint, SQLite its columns.
    text = str(error.orig)
    return "dag_run_dag_id_run_id_key" in text or "dag_run.dag_id, dag_run.run_id" in text
