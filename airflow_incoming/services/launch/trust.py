"""When DAG runs may be written together: the one place that decides it, but for the DAGs themselves."""

from __future__ import annotations

from collections.abc import Iterator

from airflow import settings
from airflow.models.dagrun import DagRun
from airflow.version import version
from sqlalchemy import inspect
from sqlalchemy.orm import Session

#: Releases of Airflow on which both ways were compared, column by column. A build of somebody's own
#: has a version of its own, and is none of these.
PROVEN = frozenset({"3.3.0", "3.3.1", "3.3.2"})
#: Databases on which they were. MySQL's types and defaults are others, and nobody compared its rows.
COMPARED_ON = frozenset({"sqlite", "postgresql"})
#: Who listens to all sessions, and does nothing about Airflow's rows: Flask-AppBuilder brings it along.
HARMLESS = frozenset({"sqlalchemy_utils"})

_FLUSHES = ("before_flush", "after_flush", "after_flush_postexec")
_INSERTS = ("before_insert", "after_insert")


def doubt(session: Session) -> str | None:
    """Return why Airflow itself has to make all runs, as the rest of a sentence; None where it needn't."""
    if version not in PROVEN:
        return f"this release was tested with Airflow {', '.join(sorted(PROVEN))}, and this is {version}"
    dialect = session.get_bind().dialect.name
    if dialect not in COMPARED_ON:
        return f"both ways were compared on {' and '.join(sorted(COMPARED_ON))}, and this is {dialect}"
    # Airflow doesn't take notice of hooks that come as plugins, only of those in airflow_local_settings.
    hook = settings.get_policy_plugin_manager().hook.task_instance_mutation_hook
    if hook.get_hookimpls() or not getattr(settings.task_instance_mutation_hook, "is_noop", False):
        return "a task_instance_mutation_hook is installed"
    listener = next(_listeners(session), None)
    if listener is not None:
        return f"{listener} listens to what SQLAlchemy writes"
    return None


def _listeners(session: Session) -> Iterator[str]:
    """Yield who may change or watch the rows of a run while Airflow makes them."""
    events = [getattr(inspect(DagRun).dispatch, name) for name in _INSERTS]
    events += [getattr(session.dispatch, name) for name in _FLUSHES]
    for listeners in events:
        for listener in listeners:
            module = str(getattr(listener, "__module__", "somebody"))
            if module.partition(".")[0] not in HARMLESS:
                yield module
