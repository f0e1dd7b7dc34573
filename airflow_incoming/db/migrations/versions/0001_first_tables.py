"""Integrations, versions, API keys, events, deduplication and dispatchers.

Revision: 0001, the first
"""

from __future__ import annotations

import sqlalchemy as sa
from airflow.utils.sqlalchemy import UtcDateTime
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LongText = sa.Text().with_variant(mysql.LONGTEXT(), "mysql")


def upgrade() -> None:
    """Create all tables."""
    _configuration_tables()
    _api_key_tables()
    _event_tables()


def downgrade() -> None:
    """Drop all tables."""
    for table in (
        "incoming_dispatcher",
        "incoming_dedup",
        "incoming_event",
        "incoming_api_key_secret",
        "incoming_api_key",
        "incoming_version",
        "incoming_integration",
        "incoming_revision",
    ):
        op.drop_table(table)


def _configuration_tables() -> None:
    op.create_table(
        "incoming_revision",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "incoming_integration",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.String(63), nullable=False, unique=True),
        sa.Column("endpoint_id", sa.String(26), nullable=False, unique=True),
        sa.Column("suspended", sa.Boolean, nullable=False),
        sa.Column("published_version_id", sa.Uuid),
        sa.Column("current_version_id", sa.Uuid, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "incoming_version",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("integration_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("configuration", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(256), nullable=False),
        sa.UniqueConstraint("integration_id", "number", name="incoming_version_number_key"),
    )


def _api_key_tables() -> None:
    op.create_table(
        "incoming_api_key",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(63), nullable=False, unique=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(256), nullable=False),
        sa.Column("expires_at", UtcDateTime),
        sa.Column("revoked_at", UtcDateTime),
        sa.Column("last_used_at", UtcDateTime),
    )
    op.create_table(
        "incoming_api_key_secret",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column(
            "key_id", sa.String(16), sa.ForeignKey("incoming_api_key.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("api_key_hash", sa.String(64), nullable=False),
        sa.Column("signing_secret", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime),
    )
    op.create_index("incoming_api_key_secret_key_idx", "incoming_api_key_secret", ["key_id"])


def _event_tables() -> None:
    op.create_table(
        "incoming_event",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("integration_id", sa.Uuid, nullable=False),
        sa.Column("integration", sa.String(63), nullable=False),
        sa.Column("version_id", sa.Uuid, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("due_at", UtcDateTime),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("retry_until", UtcDateTime),
        sa.Column("waiting_for", sa.String(1600)),
        sa.Column("error", sa.Text),
        sa.Column("dedup_hash", sa.String(64)),
        sa.Column("body", LongText, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("remote", sa.String(64)),
        sa.Column("started", sa.JSON),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("replay_of", sa.Uuid),
    )
    op.create_index(
        "incoming_event_due_idx",
        "incoming_event",
        ["due_at", "id"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("incoming_event_state_idx", "incoming_event", ["state", "id"])
    op.create_index("incoming_event_ended_idx", "incoming_event", ["state", "ended_at"])
    op.create_index("incoming_event_integration_idx", "incoming_event", ["integration", "id"])
    op.create_table(
        "incoming_dedup",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("integration_id", sa.Uuid, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("first_seen_at", UtcDateTime, nullable=False),
        sa.Column("last_seen_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
    )
    op.create_index("incoming_dedup_expires_idx", "incoming_dedup", ["expires_at"])
    op.create_table(
        "incoming_dispatcher",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("host", sa.String(256), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("beat_at", UtcDateTime, nullable=False),
    )
