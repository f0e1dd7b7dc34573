"""Under which id this database's hashes are in Redis, and how it knows that nobody else has them.

Revision: 0007, after 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from airflow.utils.sqlalchemy import UtcDateTime
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create it; a dispatcher writes its row."""
    op.create_table(
        "incoming_installation",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("witness", sa.String(16), nullable=False),
        sa.Column("pending", sa.String(16)),
        sa.Column("attended_at", UtcDateTime),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("incoming_installation")
