"""Events whose publishing to Redis is to be tried again.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table("incoming_unpublished", sa.Column("event_id", sa.Uuid, primary_key=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_table("incoming_unpublished")
