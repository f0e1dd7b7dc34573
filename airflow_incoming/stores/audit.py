"""Airflow's audit log, where every change that an administrator makes is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import Connection, String, Text, column, insert, table

#: Longest names that the columns take.
MAX_OWNER = 500

#: The columns of Airflow's table that we fill; importing its model would bring all of its models in.
log = table(
    "log",
    column("dttm", UtcDateTime),
    column("event", String),
    column("owner", String),
    column("extra", Text),
)


class Deed(NamedTuple):
    """What was done, such as ``publish_integration``, and to what. Never a secret or a payload."""

    act: str
    about: Mapping[str, Any]


def add(connection: Connection, deeds: Sequence[Deed], *, by: str, now: datetime) -> None:
    """Write down what somebody did: one row each, named ``incoming_<act>``."""
    if not deeds:
        return
    rows = [
        {
            "dttm": now,
            "event": f"incoming_{deed.act}",
            "owner": by[:MAX_OWNER],
            "extra": json.dumps(deed.about, ensure_ascii=False, default=str),
        }
        for deed in deeds
    ]
    connection.execute(insert(log), rows)
