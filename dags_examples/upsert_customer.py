"""A customer who was created or changed elsewhere is written into a table: inserted once, updated after that.

Target of the integration ``customers``. Safe to run again: the same event leaves the same row, and an
older event that comes late doesn't overwrite a newer one.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from airflow_incoming.operators import IdentifyCustomerOperator, incoming_event

# In earnest: the hook of your database, and a connection of Airflow.
DATABASE = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "customers.db"
TABLE = "create table if not exists customer (email text primary key, name text, changed_at text not null)"
# The values are parameters, never part of the text: a name like "'); drop table customer" is just a name.
UPSERT = """
insert into customer (email, name, changed_at) values (:email, :name, :changed_at)
on conflict (email) do update set name = excluded.name, changed_at = excluded.changed_at
where excluded.changed_at > customer.changed_at
"""


@dag(dag_id="upsert_customer", schedule=None, is_paused_upon_creation=False, tags=["incoming"])
def upsert_customer():
    identify = IdentifyCustomerOperator(task_id="identify", identifiers={"email": "customer.email"})

    @task(retries=2)
    def upsert(customer: dict[str, Any]) -> int:
        row = {
            "email": customer["identifiers"]["email"],
            "name": customer["attributes"].get("customer.name"),
            "changed_at": incoming_event().received_at.isoformat(),
        }
        with closing(sqlite3.connect(DATABASE, timeout=20)) as connection, connection:
            connection.execute(TABLE)
            return connection.execute(UPSERT, row).rowcount

    upsert(identify.output)


upsert_customer()
