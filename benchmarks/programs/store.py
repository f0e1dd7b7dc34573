"""Store so many events of an integration, as if they had come in."""

from __future__ import annotations

import json
import sys

import uuid6

from airflow_incoming import bootstrap
from airflow_incoming.core.messages import Event
from airflow_incoming.db.engine import reading
from airflow_incoming.stores import integrations
from airflow_incoming.stores.inbox import Inbox
from benchmarks.bodies import MARK, order

BATCH = 256


def store(name: str, count: int) -> None:
    """Append ``count`` different events of the integration to the inbox."""
    with reading(bootstrap.engine()) as connection:
        integration = integrations.find(connection, name)
    assert integration is not None
    version = integration.published
    assert version is not None
    inbox, body = Inbox(bootstrap.engine()), order(1000).decode()
    for start in range(0, count, BATCH):
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
            for _ in range(min(BATCH, count - start))
        ]
        inbox.append(events, now=bootstrap.utcnow())


if __name__ == "__main__":
    store(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({"events": int(sys.argv[2])}))
