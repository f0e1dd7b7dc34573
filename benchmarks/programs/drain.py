"""Store so many events of an integration, then time one dispatcher that turns them into DAG runs."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from typing import Any

from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select

from airflow_incoming import bootstrap
from airflow_incoming.db import tables
from airflow_incoming.db.engine import reading
from benchmarks.programs.store import store

#: Dispatched first and not timed: they load the DAG.
WARM_UP = 32
#: Events that are dispatched in several batches.
MANY = 500


def main(name: str, count: int) -> None:
    loop = bootstrap.dispatch_loop()
    store(name, WARM_UP)
    loop.drain()
    store(name, count)
    statements = 0

    def counted(*call: Any) -> None:
        nonlocal statements
        _, _, statement, parameters, _, many = call
        # One for each row, unless it is an INSERT, whose rows travel together.
        statements += len(parameters) if many and not statement.lstrip().startswith("INSERT") else 1

    sqlalchemy_event.listen(bootstrap.engine(), "before_cursor_execute", counted)
    started = bootstrap.utcnow()
    began = time.perf_counter()
    tally = loop.drain()
    seconds = time.perf_counter() - began
    assert tally.dispatched == count, tally
    found = {"events": count, "seconds": seconds, "statements": statements}
    print(json.dumps({**found, **_tenths(name, started)}))


def _tenths(name: str, started: datetime) -> dict[str, float]:
    """Return the events a second of the first tenth, and of the last; nothing for a few batches."""
    ended_at = tables.event.c.ended_at
    query = select(ended_at).where(tables.event.c.integration == name, ended_at >= started)
    with reading(bootstrap.engine()) as connection:
        times = [moment.timestamp() for (moment,) in connection.execute(query.order_by(ended_at))]
    tenth = len(times) // 10
    if tenth < MANY:
        return {}
    first, last = times[tenth] - started.timestamp(), times[-1] - times[-tenth - 1]
    return {"first_tenth": tenth / first, "last_tenth": tenth / last}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
