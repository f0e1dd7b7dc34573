"""The teams that the DAGs of a version had when it was published.

Revision: 0008, after 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; where Airflow has teams, what was published before has to be published again."""
    op.add_column("incoming_version", sa.Column("teams", sa.JSON))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("incoming_version", "teams")
