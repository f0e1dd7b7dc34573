"""Databases on a MySQL server that somebody else runs: unlike PostgreSQL, it is in no wheel."""

from __future__ import annotations

import itertools
import os

from sqlalchemy import create_engine, make_url


class MySQLServer:
    """Holds one database for each test that asks."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._names = (f"room_{os.getpid()}_{number}" for number in itertools.count(1))

    def create_database(self) -> str:
        """Return the URL of a new database."""
        name = next(self._names)
        self._execute(f"create database {name} character set utf8mb4")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def drop_database(self, url: str) -> None:
        self._execute(f"drop database if exists {make_url(url).database}")

    def _execute(self, statement: str) -> None:
        engine = create_engine(self._url.set(database=""), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()
