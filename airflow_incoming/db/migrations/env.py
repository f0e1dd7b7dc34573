"""Alembic's entry point: runs our migrations against Airflow's metadata database."""

from __future__ import annotations

from typing import Any

from airflow import settings
from alembic import context

from airflow_incoming.db.manager import IncomingDBManager

target_metadata = IncomingDBManager.metadata
version_table = IncomingDBManager.version_table_name


def include_object(_: Any, name: str | None, type_: str, *__: Any) -> bool:
    """Leave every table alone that isn't ours."""
    return type_ != "table" or name in target_metadata.tables


def run_migrations_offline() -> None:
    """Print the SQL."""
    context.configure(
        url=context.config.get_main_option("sqlalchemy.url"),
        target_metadata=target_metadata,
        literal_binds=True,
        version_table=version_table,
        include_object=include_object,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    """Change the database."""
    with settings.get_engine().connect() as connection:
        context.configure(
            connection=connection,
            transaction_per_migration=True,
            target_metadata=target_metadata,
            compare_type=True,
            include_object=include_object,
            render_as_batch=True,
            version_table=version_table,
        )
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
