"""Our tables, beside Airflow's in the metadata database but with their own MetaData.

There are no foreign keys to Airflow's tables, and none from events to integrations: an event that
was accepted is kept and run whatever becomes of its integration.
"""

from __future__ import annotations

from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects import mysql

metadata = MetaData()

#: A request body: MySQL's TEXT ends at 64 KiB.
LongText = Text().with_variant(mysql.LONGTEXT(), "mysql")

#: One row; its value grows with every change that a receiver must notice.
revision = Table(
    "incoming_revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
)

#: ``published_at`` is since when it is live; NULL while it isn't.
integration = Table(
    "incoming_integration",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("endpoint_id", String(26), nullable=False, unique=True),
    Column("suspended", Boolean, nullable=False),
    Column("published_version_id", Uuid),
    Column("current_version_id", Uuid, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("published_at", UtcDateTime),
)

#: Immutable configurations. The newest is what the administrator sees; one may be published. ``teams`` are
#: those of its DAGs when it was published last; NULL where Airflow had none.
version = Table(
    "incoming_version",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("integration_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("configuration", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(256), nullable=False),
    Column("teams", JSON(none_as_null=True)),
    UniqueConstraint("integration_id", "number", name="incoming_version_number_key"),
)

api_key = Table(
    "incoming_api_key",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(256), nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
)

#: A key has one secret, and a second one while a rotation overlaps.
api_key_secret = Table(
    "incoming_api_key_secret",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("key_id", String(16), ForeignKey("incoming_api_key.id", ondelete="CASCADE"), nullable=False),
    Column("api_key_hash", String(64), nullable=False),
    Column("signing_secret", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Index("incoming_api_key_secret_key_idx", "key_id"),
)

#: When the newest event of an integration came, for when that is past its retention. A table of its own,
#: lest writing it wait for an administrator, or make one wait.
last_event = Table(
    "incoming_last_event",
    metadata,
    Column("integration_id", Uuid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)

#: ``due_at`` is when the dispatcher takes the event next; NULL when nothing is left to do for now.
#: ``retry_until`` is set by the first failure, ``ended_at`` when the event is dispatched or given up.
#: Ids are UUIDv7, so ordering by id is ordering by time of arrival.
event = Table(
    "incoming_event",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("integration_id", Uuid, nullable=False),
    Column("integration", String(63), nullable=False),
    Column("version_id", Uuid, nullable=False),
    Column("state", String(16), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("retry_until", UtcDateTime),
    Column("waiting_for", String(1600)),
    Column("error", Text),
    Column("dedup_hash", String(64)),
    Column("body", LongText, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("query", Text, nullable=False),
    Column("remote", String(64)),
    Column("started", JSON),
    Column("ended_at", UtcDateTime),
    Column("replay_of", Uuid),
    Index(
        "incoming_event_due_idx",
        "due_at",
        "id",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
    Index("incoming_event_state_idx", "state", "id"),
    Index("incoming_event_ended_idx", "state", "ended_at"),
    Index("incoming_event_integration_idx", "integration", "id"),
    Index("incoming_event_integration_state_idx", "integration", "state", "id"),
    Index(
        "incoming_event_waiting_idx",
        "state",
        "waiting_for",
        "id",
        postgresql_where=text("waiting_for IS NOT NULL"),
        sqlite_where=text("waiting_for IS NOT NULL"),
        mysql_length={"waiting_for": 600},
    ),
    Index(
        "incoming_event_replay_idx",
        "replay_of",
        postgresql_where=text("replay_of IS NOT NULL"),
        sqlite_where=text("replay_of IS NOT NULL"),
    ),
)

#: Events whose publishing to Redis failed, and is to be tried again. Nearly always empty.
unpublished = Table(
    "incoming_unpublished",
    metadata,
    Column("event_id", Uuid, primary_key=True),
)

#: Asset events of ours that no run of a DAG has yet which their asset schedules, as far as that was seen.
#: Nearly empty, but for what comes for paused DAGs. ``since`` is when the asset event was made.
unconsumed = Table(
    "incoming_unconsumed",
    metadata,
    Column("dag_id", String(250), primary_key=True),
    Column("asset_event_id", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Uuid, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Index("incoming_unconsumed_event_idx", "event_id"),
)

#: One row: up to which asset event all were seen, and which ids before that weren't there, by when they
#: were missed first.
asset_event_mark = Table(
    "incoming_asset_event_mark",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seen", BigInteger, nullable=False),
    Column("missing", JSON, nullable=False),
)

#: The memory of what was sent. A row may be taken over by a new event when a whole window has passed since
#: ``last_seen_at``, of the version that asks; ``expires_at`` is for housekeeping.
dedup = Table(
    "incoming_dedup",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("integration_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("incoming_dedup_expires_idx", "expires_at"),
)

#: One row: under which name our hashes are in Redis, and by what a dispatcher sees there that they are ours.
#: ``pending`` is a witness that may have reached Redis; ``attended_at`` is NULL while Redis is out of reach.
installation = Table(
    "incoming_installation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(16), nullable=False),
    Column("witness", String(16), nullable=False),
    Column("pending", String(16)),
    Column("attended_at", UtcDateTime),
)

#: One row per running dispatcher, refreshed while it lives.
dispatcher = Table(
    "incoming_dispatcher",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("host", String(256), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("beat_at", UtcDateTime, nullable=False),
)

#: *Retrieve data*: until when an endpoint listens, to whom it listens, and the request that came.
listener = Table(
    "incoming_listener",
    metadata,
    Column("integration_id", Uuid, primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("auth", JSON, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("started_by", String(256), nullable=False),
    Column("listens_until", UtcDateTime, nullable=False),
    Column("captured_at", UtcDateTime),
    Column("body", LongText),
    Column("headers", JSON),
    Column("query", Text),
    Column("remote", String(64)),
)

#: The request that an administrator chose as the example of what an integration receives.
sample = Table(
    "incoming_sample",
    metadata,
    Column("integration_id", Uuid, primary_key=True),
    Column("captured_at", UtcDateTime, nullable=False),
    Column("kept_by", String(256), nullable=False),
    Column("body", LongText, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("query", Text, nullable=False),
)

#: Icons that administrators uploaded, cleaned. The id is the name that a configuration knows.
icon = Table(
    "incoming_icon",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("content_type", String(32), nullable=False),
    Column("content", LargeBinary(65535), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(256), nullable=False),
)

#: The newest requests that became no event: duplicates, and what was rejected. Bounded, and a sample
#: of a flood. ``integration`` is NULL where nobody knows the endpoint.
request = Table(
    "incoming_request",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("integration_id", Uuid),
    Column("integration", String(63)),
    Column("outcome", String(16), nullable=False),
    Column("status", Integer, nullable=False),
    Column("code", String(64), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("event_id", Uuid),
    Column("dedup_hash", String(64)),
    Column("remote", String(64)),
    Column("size", BigInteger, nullable=False),
    Index("incoming_request_integration_idx", "integration", "id"),
)

#: How many requests each integration had in each hour (UTC).
hourly = Table(
    "incoming_hourly",
    metadata,
    Column("integration_id", Uuid, primary_key=True),
    Column("hour", UtcDateTime, primary_key=True),
    Column("accepted", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Index("incoming_hourly_hour_idx", "hour"),
)
