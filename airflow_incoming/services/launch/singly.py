"""One DAG run or asset event through Airflow's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from airflow.exceptions import ParamValidationError
from airflow.serialization.definitions.assets import SerializedAssetUniqueKey
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from airflow_incoming.core.errors import DispatchFailed, TransactionLost
from airflow_incoming.core.messages import PendingEvent
from airflow_incoming.services.dag_catalog import DagState, refusal_of_params
from airflow_incoming.services.launch.lookup import run_after_of, run_id_of, user_of


def create_run(session: Session, one: PendingEvent, dag: SerializedDAG, state: DagState | None) -> None:
    """Create one DAG run, flushed. Raises DispatchFailed, TransactionLost, and what Airflow raises."""
    try:
        with _only_savepoints(session, dag.dag_id):
            run = dag.create_dagrun(
                session=session,
                run_id=run_id_of(one.event),
                logical_date=None,
                data_interval=None,
                run_after=run_after_of(one.event),
                conf=dict(one.conf),
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.REST_API,
                triggering_user_name=user_of(one.event),
                state=DagRunState.QUEUED,
            )
    except ParamValidationError as error:
        raise DispatchFailed(refusal_of_params(dag.dag_id, error), retry=False) from error
    if state is None or run.created_dag_version_id != state.version_id:
        raise DispatchFailed(f"DAG {dag.dag_id!r} was changed while the run was made.", retry=True)


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


def emit(
    session: Session,
    target: str,
    asset: SerializedAssetUniqueKey | None,
    conf: Mapping[str, Any],
    announcements: list[Callable[[], None]],
) -> int:
    """Create one asset event and return its id; ``announcements`` gets what listeners have to hear of it."""
    # Importing this module resolves [core] asset_manager_class, so not before it is needed.
    from airflow.assets.manager import asset_manager

    # A sender belongs to no team: like a teamless API user, it reaches the DAGs of no team.
    made = None
    if asset is not None:
        made = asset_manager.register_asset_change(
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
    return int(made.id)


def is_same_run(error: IntegrityError) -> bool:
    """Tell whether a run could not be created because it exists already."""
    # PostgreSQL and MySQL name the constraint, SQLite its columns.
    text = str(error.orig)
    return "dag_run_dag_id_run_id_key" in text or "dag_run.dag_id, dag_run.run_id" in text
