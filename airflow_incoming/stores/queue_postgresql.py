"""The queue's mark of dispatched events on PostgreSQL: one statement for a whole batch.

As with :mod:`.inbox_postgresql`, rows travel as one array for each column.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from airflow_incoming.core.messages import Started

_MARK = """
UPDATE incoming_event AS event SET
    state = 'dispatched', due_at = NULL, error = NULL, waiting_for = NULL, ended_at = %(now)s,
    attempts = event.attempts + 1, started = marked.started
FROM unnest(CAST(%(id)s AS uuid[]), CAST(%(started)s AS json[])) AS marked (id, started)
WHERE event.id = marked.id
"""


def mark_dispatched(connection: Connection, started: Mapping[UUID, Sequence[Started]], now: datetime) -> None:
    """See :func:`airflow_incoming.stores.queue.mark_dispatched`."""
    arrays = {
        "now": now,
        "id": [str(event_id) for event_id in started],
        "started": [json.dumps([asdict(one) for one in each]) for each in started.values()],
    }
    connection.exec_driver_sql(_MARK, arrays)
