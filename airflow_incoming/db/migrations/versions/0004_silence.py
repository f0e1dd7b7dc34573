"""Since when an integration is live, and when its newest event came, beyond the retention of events.

Revision: 0004, after 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from airflow.utils.sqlalchemy import UtcDateTime
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them; what is published already is so since its version was made, as far as is known."""
    op.create_table(
        "incoming_last_event",
        sa.Column("integration_id", sa.Uuid, primary_key=True),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.add_column("incoming_integration", sa.Column("published_at", UtcDateTime))
    op.execute(
        "UPDATE incoming_integration SET published_at = "
        "(SELECT created_at FROM incoming_version WHERE id = published_version_id) "
        "WHERE published_version_id IS NOT NULL"
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_column("incoming_integration", "published_at")
    op.drop_table("incoming_last_event")
