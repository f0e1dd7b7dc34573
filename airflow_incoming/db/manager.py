"""The DB manager through which ``airflow db migrate`` makes and migrates our tables."""

from __future__ import annotations

from pathlib import Path

from airflow.utils.db_manager import BaseDBManager

from airflow_incoming.db.tables import metadata

HERE = Path(__file__).parent


class IncomingDBManager(BaseDBManager):
    """Manages the ``incoming_*`` tables, with a version table of their own."""

    metadata = metadata
    version_table_name = "alembic_version_incoming"
    migration_dir = (HERE / "migrations").as_posix()
    alembic_file = (HERE / "alembic.ini").as_posix()
    supports_table_dropping = True
    revision_heads_map = {"0.1.0": "0006"}  # noqa: RUF012 - the base class has it so

    def downgrade(
        self,
        to_revision: str,
        from_revision: str | None = None,
        show_sql_only: bool = False,  # noqa: FBT001, FBT002 - the base class has it so
    ) -> None:
        """Downgrade to ``to_revision`` ("base" removes all tables), or print the SQL that would."""
        from alembic import command

        if from_revision and not show_sql_only:
            raise ValueError("from_revision is only of use with show_sql_only")
        if show_sql_only:
            start = from_revision or self.get_current_revision() or "head"
            command.downgrade(self.get_alembic_config(), f"{start}:{to_revision}", sql=True)
        else:
            self.session.commit()
            command.downgrade(self.get_alembic_config(), to_revision)
