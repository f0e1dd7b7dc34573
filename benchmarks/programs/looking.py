"""Time what the events page asks the database for, in milliseconds: the median of several times."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from statistics import median

from airflow_incoming import bootstrap
from airflow_incoming.core.matching import ParameterMatch
from airflow_incoming.stores.events import Criteria, id_at

TIMES = 7
COUNTED = 1000


def main() -> None:
    desk, now = bootstrap.event_desk(), bootstrap.utcnow()
    newest = Criteria(integration="orders")
    dead = replace(newest, states=("dead",))
    day = replace(newest, since=now - timedelta(days=2), until=now - timedelta(days=1))
    match = replace(newest, parameter=ParameterMatch(name="body.order.id", text="no such order"))
    event_id = desk.find(newest).events[0].id
    asked: dict[str, Callable[[], object]] = {
        "newest": lambda: desk.find(newest),
        "dead": lambda: desk.find(dead),
        "day": lambda: desk.find(day),
        "far_down": lambda: desk.find(replace(newest, before=id_at(now - timedelta(days=9)))),
        "counted": lambda: desk.count(newest, upto=COUNTED),
        "one_event": lambda: desk.whole(event_id),
        "searched_by_parameter": lambda: desk.find(match),
    }
    print(json.dumps({f"page_{name}_ms": _time(ask) for name, ask in asked.items()}))


def _time(ask: Callable[[], object]) -> float:
    ask()
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


if __name__ == "__main__":
    main()
