"""An index of what failed events wait for, so that dispatchers find it at once, however many wait.

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create it. The events of a longer name than it can hold are tried again by time instead."""
    op.execute("UPDATE incoming_event SET waiting_for = NULL WHERE length(waiting_for) > 600")
    op.create_index(
        "incoming_event_waiting_idx",
        "incoming_event",
        ["state", "waiting_for", "id"],
        postgresql_where=sa.text("waiting_for IS NOT NULL"),
        sqlite_where=sa.text("waiting_for IS NOT NULL"),
        mysql_length={"waiting_for": 600},
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("incoming_event_waiting_idx", table_name="incoming_event")
