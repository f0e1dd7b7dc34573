"""When DAG runs may be written together: the one place that decides it, but for the DAGs themselves."""

from __future__ import annotations

from airflow import settings
from airflow.models.dagrun import DagRun
from airflow.version import version
from sqlalchemy import inspect
from sqlalchemy.orm import Session

#: Releases of Airflow on which both ways were compared, column by column. A build of somebody's own
#: has a version of its own, and is none of these.
PROVEN = frozenset({"3.3.2"})

_FLUSHES = ("before_flush", "after_flush", "after_flush_postexec")
_INSERTS = ("before_insert", "after_insert")


def is_proven() -> bool:
    """Tell whether this release of Airflow is one that it was proven on."""
    return version in PROVEN


def is_unobserved(session: Session) -> bool:
    """Tell whether nobody changes or watches the rows of a run while Airflow makes them.

    Cluster policies change task instances (``task_instance_mutation_hook``), plugins may listen to
    what SQLAlchemy flushes.
    """
    return (
        getattr(settings.task_instance_mutation_hook, "is_noop", False)
        and not any(getattr(inspect(DagRun).dispatch, event) for event in _INSERTS)
        and not any(getattr(session.dispatch, event) for event in _FLUSHES)
    )
