"""Asset events that no run has yet of a DAG that their asset schedules, and up to where that was looked for.

Revision: 0006, after 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from airflow.utils.sqlalchemy import UtcDateTime
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables; the first look of a dispatcher fills them."""
    op.create_table(
        "incoming_unconsumed",
        sa.Column("dag_id", sa.String(250), primary_key=True),
        sa.Column("asset_event_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
    )
    op.create_index("incoming_unconsumed_event_idx", "incoming_unconsumed", ["event_id"])
    op.create_table(
        "incoming_asset_event_mark",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("missing", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("incoming_asset_event_mark")
    op.drop_table("incoming_unconsumed")
