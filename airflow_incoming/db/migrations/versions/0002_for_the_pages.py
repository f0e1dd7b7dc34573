"""What the pages need: listening for a sample, icons, requests that became no event, counts.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from airflow.utils.sqlalchemy import UtcDateTime
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LongText = sa.Text().with_variant(mysql.LONGTEXT(), "mysql")


def upgrade() -> None:
    """Create the tables."""
    _listening_tables()
    _watching_tables()
    op.create_index("incoming_event_integration_state_idx", "incoming_event", ["integration", "state", "id"])
    op.create_index(
        "incoming_event_replay_idx",
        "incoming_event",
        ["replay_of"],
        postgresql_where=sa.text("replay_of IS NOT NULL"),
        sqlite_where=sa.text("replay_of IS NOT NULL"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("incoming_event_replay_idx", table_name="incoming_event")
    op.drop_index("incoming_event_integration_state_idx", table_name="incoming_event")
    for table in (
        "incoming_hourly",
        "incoming_request",
        "incoming_icon",
        "incoming_sample",
        "incoming_listener",
    ):
        op.drop_table(table)


def _listening_tables() -> None:
    op.create_table(
        "incoming_listener",
        sa.Column("integration_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("auth", sa.JSON, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("started_by", sa.String(256), nullable=False),
        sa.Column("listens_until", UtcDateTime, nullable=False),
        sa.Column("captured_at", UtcDateTime),
        sa.Column("body", LongText),
        sa.Column("headers", sa.JSON),
        sa.Column("query", sa.Text),
        sa.Column("remote", sa.String(64)),
    )
    op.create_table(
        "incoming_sample",
        sa.Column("integration_id", sa.Uuid, primary_key=True),
        sa.Column("captured_at", UtcDateTime, nullable=False),
        sa.Column("kept_by", sa.String(256), nullable=False),
        sa.Column("body", LongText, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
    )
    op.create_table(
        "incoming_icon",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("content_type", sa.String(32), nullable=False),
        sa.Column("content", sa.LargeBinary(65535), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(256), nullable=False),
    )


def _watching_tables() -> None:
    op.create_table(
        "incoming_request",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("integration_id", sa.Uuid),
        sa.Column("integration", sa.String(63)),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("event_id", sa.Uuid),
        sa.Column("dedup_hash", sa.String(64)),
        sa.Column("remote", sa.String(64)),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_index("incoming_request_integration_idx", "incoming_request", ["integration", "id"])
    op.create_table(
        "incoming_hourly",
        sa.Column("integration_id", sa.Uuid, primary_key=True),
        sa.Column("hour", UtcDateTime, primary_key=True),
        sa.Column("accepted", sa.BigInteger, nullable=False),
        sa.Column("duplicates", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
    )
    op.create_index("incoming_hourly_hour_idx", "incoming_hourly", ["hour"])
