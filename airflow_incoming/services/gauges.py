"""What waits, what was given up, and who has fallen silent: measured now and then by each dispatcher."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine

from airflow_incoming.db.engine import reading
from airflow_incoming.services import metrics
from airflow_incoming.services.metrics import Emits
from airflow_incoming.stores import events, integrations, silence


def measure(engine: Engine, emit: Emits, now: datetime) -> None:
    """Send the gauges. Raises DatabaseUnavailable."""
    with reading(engine) as connection:
        backlog = events.backlog(connection)
        published = [each.name for each in integrations.list_all(connection) if each.state == "published"]
        found = silence.activity(connection, published)
    emit.gauge(metrics.INBOX_WAITING, backlog.waiting)
    emit.gauge(metrics.INBOX_OLDEST, _age(backlog.oldest, now))
    emit.gauge(metrics.INBOX_FAILED, backlog.failed)
    emit.gauge(metrics.INBOX_HELD, backlog.held)
    emit.gauge(metrics.INBOX_DEAD, backlog.dead)
    for name, activity in found.items():
        if activity.silent_since is not None:
            emit.gauge(metrics.SILENCE.replace("<integration>", name), _age(activity.silent_since, now))


def _age(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else max(0.0, (now - moment).total_seconds())
