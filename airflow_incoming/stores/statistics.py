"""What PostgreSQL knows of Airflow's tables that each run writes to; its plans are made from that."""

from __future__ import annotations

from sqlalchemy import Connection, text

_KNOWN = text("SELECT reltuples FROM pg_class WHERE oid = to_regclass('dag_run')")


def known_runs(connection: Connection) -> int | None:
    """Return how many runs there were when PostgreSQL last counted (-1: never); None: there is no table."""
    known = connection.scalar(_KNOWN)
    return None if known is None else int(known)


def analyze(connection: Connection) -> None:
    """Let PostgreSQL sample the runs and their tasks; it does nothing for others than their owner."""
    connection.execute(text("SET LOCAL lock_timeout = '1s'"))
    connection.execute(text("ANALYZE dag_run, task_instance"))
