"""The few columns of Airflow's tables that we read and write.

Airflow's models would bring their relations and their cost, also to receivers.
"""

from __future__ import annotations

from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import JSON, BigInteger, Boolean, Integer, String, Text, column, table

asset = table("asset", column("id", Integer), column("name", String), column("uri", String))
asset_event = table(
    "asset_event",
    column("id", BigInteger),
    column("asset_id", Integer),
    column("extra", JSON),
    column("source_dag_id", String),
    column("partition_key", String),
    column("timestamp", UtcDateTime),
)
queue = table(
    "asset_dag_run_queue",
    column("asset_id", Integer),
    column("target_dag_id", String),
    column("created_at", UtcDateTime),
)
reference = table(
    "dag_schedule_asset_reference",
    column("asset_id", Integer),
    column("dag_id", String),
    column("created_at", UtcDateTime),
    column("allow_global_producers", Boolean),
)
dag = table(
    "dag",
    column("dag_id", String),
    column("is_paused", Boolean),
    column("is_stale", Boolean),
    column("has_import_errors", Boolean),
    column("max_active_runs", Integer),
    column("timetable_partitioned", Boolean),
    column("asset_expression", JSON),
    column("bundle_name", String),
)
#: DAGs that are scheduled on what has this name, or URI, whichever asset that is.
by_name = table("dag_schedule_asset_name_reference", column("name", String), column("dag_id", String))
by_uri = table("dag_schedule_asset_uri_reference", column("uri", String), column("dag_id", String))
bundle_team = table("dag_bundle_team", column("dag_bundle_name", String), column("team_name", String))
run = table(
    "dag_run",
    column("id", BigInteger),
    column("dag_id", String),
    column("run_id", String),
    column("run_type", String),
    column("run_after", UtcDateTime),
    column("start_date", UtcDateTime),
    column("end_date", UtcDateTime),
    column("state", String),
)
consumed = table("dagrun_asset_event", column("dag_run_id", BigInteger), column("event_id", BigInteger))
trigger = table("trigger", column("id", Integer), column("classpath", String), column("kwargs", Text))
watcher = table("asset_watcher", column("asset_id", Integer), column("trigger_id", Integer))
log = table(
    "log",
    column("event", Text),
    column("dag_id", String),
    column("run_id", String),
    column("dttm", UtcDateTime),
    column("extra", Text),
)
