"""The teams that the DAGs of a version had when it was published.

Revision: 0007, after 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; where Airflow has teams, what was published before has to be published again."""
    op.add_column("incoming_version", sa.Column("teams", sa.JSON))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("incoming_version", "teams")
