"""Send events to an idle receiver, one by one, and time each until somebody else sees its DAG run."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from statistics import quantiles
from uuid import uuid4

import psycopg2

from benchmarks.bodies import MARK, order

#: Seconds between two events; after it everything is idle again.
PAUSE = 0.2
LIMIT = 30.0


def main(url: str, count: int) -> None:
    connection = psycopg2.connect(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", ""))
    connection.autocommit = True
    times = []
    with connection.cursor() as cursor:
        for _ in range(count + 3):
            time.sleep(PAUSE)
            began = time.perf_counter()
            event_id = _post(url)
            while not _has_run(cursor, event_id):
                assert time.perf_counter() - began < LIMIT, "the event was not dispatched"
                time.sleep(0.001)
            times.append((time.perf_counter() - began) * 1000)
    cuts = quantiles(times[3:], n=20)  # the first ones load the DAG
    print(json.dumps({"p50": cuts[9], "p95": cuts[18]}))


def _post(url: str) -> str:
    body = order(1000).replace(MARK.encode(), uuid4().hex[:16].encode())
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(json.load(response)["event_id"])


def _has_run(cursor: psycopg2.extensions.cursor, event_id: str) -> bool:
    cursor.execute("select 1 from dag_run where run_id = %s", (f"incoming__orders__{event_id}",))
    return cursor.fetchone() is not None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
