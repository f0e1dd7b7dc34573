"""Fresh statistics for PostgreSQL, when runs come faster than its autovacuum.

Each task instance is checked against its run. In a database that has never counted its runs, PostgreSQL
may read all runs of the DAG for that, so that a first burst soon takes ten times as long; autovacuum
counts them a minute or two later.
"""

from __future__ import annotations

import logging

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from airflow_incoming.core.errors import DatabaseUnavailable
from airflow_incoming.db.engine import reading, transaction
from airflow_incoming.stores import statistics

log = logging.getLogger(__name__)

#: Runs that a dispatcher makes between two looks, which cost one small query each.
LOOK_EVERY = 1000
#: What PostgreSQL knows is too old where so many times as many runs were made since.
TOO_MANY = 10


class Statistics:
    """Counts the runs that one dispatcher makes, and has them analyzed where PostgreSQL knows too few."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made = 0
        self._next_look = LOOK_EVERY
        self._told = False

    def made(self, runs: int) -> None:
        """Take note of runs that were committed. Raises nothing: without statistics it is only slow."""
        self._made += runs
        if self._made < self._next_look or self._engine.dialect.name != "postgresql":
            return
        self._next_look = self._made + LOOK_EVERY
        try:
            self._look()
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            self._tell_once(type(error).__name__)

    def _look(self) -> None:
        with reading(self._engine) as connection:
            known = statistics.known_runs(connection)
        if known is None or known * TOO_MANY >= self._made:
            return
        with transaction(self._engine) as connection:
            statistics.analyze(connection)
            known = statistics.known_runs(connection)
        if known is None or known <= 0:
            self._tell_once("only the owner of Airflow's tables may")
            return
        log.info("Had PostgreSQL analyze dag_run and task_instance: %d runs", known)
        self._made, self._next_look = 0, LOOK_EVERY

    def _tell_once(self, reason: str) -> None:
        if not self._told:
            log.info("PostgreSQL's statistics of dag_run could not be refreshed (%s); it will itself", reason)
            self._told = True
