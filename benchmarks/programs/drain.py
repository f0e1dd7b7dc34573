"""Store so many events of an integration, then time one dispatcher that turns them into DAG runs."""

from __future__ import annotations

import json
import sys
import time

import uuid6
from sqlalchemy import event as sqlalchemy_event

from airflow_incoming import bootstrap
from airflow_incoming.core.messages import Event
from airflow_incoming.db.engine import reading
from airflow_incoming.stores import integrations
from airflow_incoming.stores.inbox import Inbox
from benchmarks.bodies import MARK, order

#: Dispatched first and not timed: they load the DAG.
WARM_UP = 32
BATCH = 256


def main(name: str, count: int) -> None:
    with reading(bootstrap.engine()) as connection:
        integration = integrations.find(connection, name)
    assert integration is not None
    version = integration.published
    assert version is not None
    inbox, body = Inbox(bootstrap.engine()), order(1000).decode()

    def store(number: int) -> None:
        events = [
            Event(
                id=(event_id := uuid6.uuid7()),
                integration_id=integration.id,
                integration=name,
                version_id=version.id,
                received_at=bootstrap.utcnow(),
                body=body.replace(MARK, event_id.hex[:16]),
                headers={"content-type": "application/json"},
            )
            for _ in range(number)
        ]
        for start in range(0, number, BATCH):
            inbox.append(events[start : start + BATCH], now=bootstrap.utcnow())

    loop = bootstrap.dispatch_loop()
    store(WARM_UP)
    loop.drain()
    store(count)
    statements = 0

    def counted(*_: object) -> None:
        nonlocal statements
        statements += 1

    sqlalchemy_event.listen(bootstrap.engine(), "before_cursor_execute", counted)
    began = time.perf_counter()
    tally = loop.drain()
    seconds = time.perf_counter() - began
    assert tally.dispatched == count, tally
    print(json.dumps({"events": count, "seconds": seconds, "statements": statements}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
