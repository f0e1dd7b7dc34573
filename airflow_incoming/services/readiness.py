"""Whether the targets of an integration could be started now, and would take its data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from airflow_incoming.core.errors import DispatchFailed
from airflow_incoming.db.engine import reading
from airflow_incoming.services.asset_catalog import active_assets
from airflow_incoming.services.dag_catalog import (
    DagCatalog,
    DagState,
    FoundDag,
    check_params,
    dag_states,
    search_dags,
)

Kind = Literal["success", "warning", "danger", "hidden"]

HIDDEN = "You may not look at this DAG, or it isn't there."
#: DAGs that one search looks at, and how many it asks permission for at a time.
MOST_SEARCHED = 1000
PAGE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    """What can be said of one target: ``success``: it would start, ``warning``: it would start but …,
    ``danger``: an event would fail or wait, ``hidden``: it isn't for whoever asks.
    """

    target: str
    kind: Kind
    text: str


class ReadinessCheck:
    """Looks at targets as the dispatcher would. Make a new one for each request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._catalog = DagCatalog()

    def search(
        self, text: str, *, allowed: Callable[[Iterable[str]], set[str]], limit: int = 30
    ) -> list[FoundDag]:
        """Return active DAGs by id whose id or display name contains ``text``.

        ``allowed`` returns those of some DAG ids that may be found. Of very many DAGs only the first
        thousand that match are looked at.
        """
        found: list[FoundDag] = []
        after = ""
        with self._session() as session:
            for _ in range(MOST_SEARCHED // PAGE):
                page = search_dags(session, text, after=after, limit=PAGE)
                permitted = allowed([each.dag_id for each in page])
                found += [each for each in page if each.dag_id in permitted]
                if len(found) >= limit or len(page) < PAGE:
                    break
                after = page[-1].dag_id
        return found[:limit]

    def dags(
        self, dag_ids: Sequence[str], conf: Mapping[str, Any] | None, *, readable: Collection[str]
    ) -> list[Readiness]:
        """Return the readiness of DAGs in the given order; with a conf, whether their params take it.

        Of those that aren't ``readable`` nothing is said, not even whether they are there.
        """
        with self._session() as session:
            states = dag_states(session, [dag_id for dag_id in dag_ids if dag_id in readable])
            return [
                self._dag(session, dag_id, states.get(dag_id), conf)
                if dag_id in readable
                else Readiness(target=dag_id, kind="hidden", text=HIDDEN)
                for dag_id in dag_ids
            ]

    def assets(self, targets: Sequence[str], *, readable: bool) -> list[Readiness]:
        """Return the readiness of assets in the given order; of none where they aren't ``readable``."""
        if not readable:
            text = "You may not look at assets."
            return [Readiness(target=target, kind="hidden", text=text) for target in targets]
        with self._session() as session:
            active = active_assets(session, targets)
        return [_asset(target, active=target in active) for target in targets]

    def _dag(
        self, session: Session, dag_id: str, state: DagState | None, conf: Mapping[str, Any] | None
    ) -> Readiness:
        try:
            dag = self._catalog.get(session, dag_id, state)
            if conf is not None:
                check_params(dag, conf)
        except DispatchFailed as failed:
            return Readiness(target=dag_id, kind="danger", text=failed.detail)
        if state is not None and state.paused:
            text = "Paused: it gets its run, which waits until the DAG is unpaused."
            return Readiness(target=dag_id, kind="warning", text=text)
        text = "Ready." if conf is None else "Ready, and its params take the sample."
        return Readiness(target=dag_id, kind="success", text=text)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with reading(self._engine) as connection, Session(connection) as session:
            yield session


def _asset(target: str, *, active: bool) -> Readiness:
    if active:
        return Readiness(target=target, kind="success", text="Ready: a DAG names this asset.")
    text = "No DAG that is parsed names this asset; events wait until one does."
    return Readiness(target=target, kind="danger", text=text)
