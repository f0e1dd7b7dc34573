"""The DAGs that events may start: what Airflow says about them now, and their structure, kept.

Deserializing a DAG costs far more than making a run of it, so structures are kept between batches.
A kept structure is used only while Airflow's newest version of the DAG still has the same id *and*
the same hash: Airflow replaces the content of a version in place as long as nothing ran on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from airflow.exceptions import DeserializationError, ParamValidationError
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.definitions.param import SerializedParamsDict
from airflow.serialization.helpers import TimetableNotRegistered
from airflow.utils.types import DagRunType
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from airflow_incoming.core.errors import DispatchFailed

#: How many names one statement asks for; SQLite allows 32 766 variables, planners prefer far fewer.
CHUNK = 500
#: The longest explanation that is kept of a refused param: validators quote the value.
MAX_REFUSAL = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class DagState:
    """What the database says about one DAG, without its structure."""

    dag_id: str
    stale: bool
    paused: bool
    import_errors: bool
    allowed_run_types: tuple[str, ...] | None
    version_id: UUID | None
    dag_hash: str | None
    bundle_version: str | None

    @property
    def startable(self) -> bool:
        """Tell whether a run can be made: the DAG is there, parsed without errors, and serialized."""
        return not self.stale and not self.import_errors and self.dag_hash is not None


class DagCatalog:
    """Structures of DAGs, at most ``capacity`` of them. Belongs to one thread."""

    def __init__(self, *, capacity: int = 256) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[str, tuple[UUID, str, SerializedDAG]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, session: Session, dag_id: str, state: DagState | None) -> SerializedDAG:
        """Return the structure that ``state`` describes, from memory or with one query.

        Raises DispatchFailed, in plain words, where no run of this DAG can be made now.
        """
        version_id, dag_hash = _require_startable(dag_id, state)
        kept = self._kept.get(dag_id)
        if kept is not None and kept[:2] == (version_id, dag_hash):
            self._kept.move_to_end(dag_id)
            return kept[2]
        dag, loaded_hash = _load(session, dag_id, version_id)
        self._kept[dag_id] = (version_id, loaded_hash, dag)
        self._kept.move_to_end(dag_id)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return dag


def dag_states(session: Session, dag_ids: Collection[str]) -> dict[str, DagState]:
    """Return the state of each DAG that Airflow knows: one statement for up to 500 DAGs."""
    states: dict[str, DagState] = {}
    for chunk in chunks(sorted(set(dag_ids))):
        newest = (
            select(DagVersion.dag_id, func.max(DagVersion.version_number).label("number"))
            .where(DagVersion.dag_id.in_(chunk))
            .group_by(DagVersion.dag_id)
            .subquery()
        )
        rows = session.execute(
            select(
                DagModel.dag_id,
                DagModel.is_stale,
                DagModel.is_paused,
                DagModel.has_import_errors,
                DagModel.allowed_run_types,
                DagModel.bundle_version,
                SerializedDagModel.dag_version_id,
                SerializedDagModel.dag_hash,
            )
            .select_from(DagModel)
            .outerjoin(newest, newest.c.dag_id == DagModel.dag_id)
            .outerjoin(
                DagVersion,
                and_(DagVersion.dag_id == DagModel.dag_id, DagVersion.version_number == newest.c.number),
            )
            .outerjoin(SerializedDagModel, SerializedDagModel.dag_version_id == DagVersion.id)
            .where(DagModel.dag_id.in_(chunk))
        )
        for dag_id, stale, paused, import_errors, run_types, bundle_version, version_id, dag_hash in rows:
            states[dag_id] = DagState(
                dag_id=dag_id,
                stale=bool(stale),
                paused=bool(paused),
                import_errors=bool(import_errors),
                allowed_run_types=None if run_types is None else tuple(map(str, run_types)),
                version_id=version_id,
                dag_hash=dag_hash,
                bundle_version=bundle_version,
            )
    return states


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundDag:
    """A DAG that a search found."""

    dag_id: str
    display_name: str
    paused: bool


def search_dags(session: Session, text: str, *, after: str, limit: int) -> list[FoundDag]:
    """Return active DAGs whose id or display name contains ``text``, by id, beginning after an id."""
    needle = f"%{_literal(text)}%"
    display_name: Any = DagModel.dag_display_name  # a hybrid, which mypy takes for a method
    rows = session.execute(
        select(DagModel.dag_id, display_name, DagModel.is_paused)
        .where(
            DagModel.is_stale.is_(False),
            DagModel.dag_id > after,
            or_(
                DagModel.dag_id.ilike(needle, escape="!"),
                display_name.ilike(needle, escape="!"),
            ),
        )
        .order_by(DagModel.dag_id)
        .limit(limit)
    )
    return [FoundDag(dag_id=row[0], display_name=row[1], paused=bool(row[2])) for row in rows]


def check_params(dag: SerializedDAG, conf: Mapping[str, Any]) -> None:
    """Raise DispatchFailed where the params of a DAG refuse a conf, as making a run of it does."""
    try:
        dag.params.deep_merge(conf).validate()
    except ParamValidationError as error:
        raise DispatchFailed(refusal_of_params(dag.dag_id, error), retry=False) from error


def refusal_of_params(dag_id: str, error: ParamValidationError) -> str:
    """Return why the params of a DAG refuse a conf: the field and what is wrong with it."""
    reason = str(error).partition("\n")[0]
    if len(reason) > MAX_REFUSAL:
        reason = f"{reason[:MAX_REFUSAL]}…"
    return f"The params of DAG {dag_id!r} refuse the data. {reason}"


def chunks(names: Sequence[str], size: int = CHUNK) -> Iterator[Sequence[str]]:
    """Yield ``names`` in pieces that one statement can ask for."""
    for start in range(0, len(names), size):
        yield names[start : start + size]


class _DeclaredParams(SerializedParamsDict):
    """The params of a DAG, which look at those fields of a conf that the DAG declares.

    Airflow validates every field of a conf, those without a declaration against the empty schema,
    which nothing can fail: 0.4 ms per field, 4 s for 10 000 fields. The verdict is the same without.
    """

    def deep_merge(self, data: Mapping[str, Any] | None) -> SerializedParamsDict:
        declared = {name: value for name, value in (data or {}).items() if name in self}
        merged: SerializedParamsDict = super().deep_merge(declared)
        return merged


def _require_startable(dag_id: str, state: DagState | None) -> tuple[UUID, str]:
    if state is None:
        problem = "does not exist. Deploy it, or take it out of the integration"
    elif state.import_errors:
        problem = "has import errors. Repair its file"
    elif state.stale:
        problem = "is stale: its file is gone, or the DAG processor has not parsed it lately"
    elif state.version_id is None or state.dag_hash is None:
        problem = "has not been serialized yet. Is the DAG processor running?"
    elif state.allowed_run_types is not None and DagRunType.MANUAL.value not in state.allowed_run_types:
        raise DispatchFailed(
            f"DAG {dag_id!r} does not allow manual runs; an event can't start it while its"
            f" allowed_run_types are {', '.join(state.allowed_run_types) or 'empty'}.",
            retry=False,
        )
    else:
        return state.version_id, state.dag_hash
    raise _not_ready(dag_id, problem)


def _literal(text: str) -> str:
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return text


def _load(session: Session, dag_id: str, version_id: UUID) -> tuple[SerializedDAG, str]:
    row = session.scalar(select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version_id))
    if row is None:
        raise _not_ready(dag_id, "was changed or deleted just now")
    # Not load_op_links = False, as schedulers do: it sets a flag of the whole process, and an api-server
    # deserializing a DAG in another thread at this moment would lose its links.
    session.expunge(row)
    try:
        dag = row.dag
    except (DeserializationError, TimetableNotRegistered) as error:
        # It is there, so nothing would tell when to try again: only a pause helps.
        problem = f"DAG {dag_id!r} can't be deserialized; is a plugin or provider missing here?"
        raise DispatchFailed(problem, retry=True) from error
    declared = dag.params
    dag.params = _DeclaredParams({name: declared.get_param(name) for name in declared})
    return dag, row.dag_hash


def _not_ready(dag_id: str, problem: str) -> DispatchFailed:
    return DispatchFailed(f"DAG {dag_id!r} {problem}.", retry=True, waiting_for=f"dag:{dag_id}")
