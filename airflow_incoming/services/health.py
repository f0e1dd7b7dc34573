"""Is everything well? For load balancers, and in more words for people."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Engine

from airflow_incoming.core.errors import DatabaseUnavailable, RedisUnavailable
from airflow_incoming.db.engine import reading
from airflow_incoming.stores import dispatchers, events
from airflow_incoming.stores.dedup import DedupMemory

Status = Literal["healthy", "degraded", "unavailable"]

#: A dispatcher whose last sign of life is older isn't counted.
ALIVE = timedelta(seconds=30)
#: Seconds for which a report is given out again, so that asking often costs nothing.
CACHED = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthReport:
    """``unavailable``: requests are answered 503. ``degraded``: slower, or events don't run yet."""

    status: Status
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)


class Health:
    """Looks at the database, Redis and the dispatchers."""

    def __init__(self, engine: Engine, memory: DedupMemory | None, *, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._memory = memory
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[float, HealthReport] | None = None

    def report(self) -> HealthReport:
        """Return how things are, at most a second old."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > CACHED:
                self._last = (time.monotonic(), self._look())
            return self._last[1]

    def _look(self) -> HealthReport:
        redis = self._redis()
        try:
            dispatcher = self._dispatcher()
        except DatabaseUnavailable:
            down = {"status": "down"}
            return HealthReport(
                status="unavailable",
                parts={"database": down, "redis": redis, "dispatcher": {"status": "unknown"}},
            )
        well = redis["status"] != "down" and dispatcher["status"] == "up"
        return HealthReport(
            status="healthy" if well else "degraded",
            parts={"database": {"status": "up"}, "redis": redis, "dispatcher": dispatcher},
        )

    def _redis(self) -> dict[str, Any]:
        if self._memory is None:
            return {"status": "not configured"}
        try:
            self._memory.ping()
        except RedisUnavailable:
            return {"status": "down"}
        return {"status": "up"}

    def _dispatcher(self) -> dict[str, Any]:
        now = self._clock()
        with reading(self._engine) as connection:
            beats = dispatchers.read_all(connection)
            backlog = events.backlog(connection)
        ages = [now - beat.beat_at for beat in beats]
        alive = sum(age <= ALIVE for age in ages)
        return {
            "status": "up" if alive else "down",
            "alive": alive,
            "last_beat_seconds_ago": None if not ages else round(min(ages).total_seconds(), 1),
            "backlog": backlog.waiting,
            "oldest_seconds": None
            if backlog.oldest is None
            else round((now - backlog.oldest).total_seconds(), 1),
            "failed": backlog.failed,
            "held": backlog.held,
            "dead": backlog.dead,
        }
