"""The points at which a process may be made to die, as by ``kill -9``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from airflow_incoming.services import dispatch, intake, launch, receive
from airflow_incoming.services.consumers import requeueing, sweep
from airflow_incoming.services.launch import rows
from airflow_incoming.stores import dedup, dispatchers, inbox, inbox_postgresql, queue
from airflow_incoming.web import asgi


@dataclass(frozen=True)
class Point:
    """Before or after a function does its work. ``short``: every test run kills there."""

    owner: Any
    name: str
    before: bool = False
    short: bool = False


POINTS: dict[str, Point] = {
    "intake: request read": Point(receive.Receiver, "receive", before=True),
    "intake: Redis asked": Point(dedup.RedisDedup, "look"),
    "intake: events in hand, not stored": Point(inbox_postgresql, "_arrays", short=True),
    "intake: committed, nobody answered": Point(inbox.Inbox, "append", short=True),
    "intake: decided, Redis not told": Point(intake, "_resolve"),
    "intake: decided, Redis told": Point(dedup.RedisDedup, "remember"),
    "intake: answer made, not sent": Point(asgi, "send_response", before=True, short=True),
    "dispatch: sign of life written, not committed": Point(dispatchers, "beat"),
    "dispatch: batch taken": Point(queue, "take"),
    "dispatch: the runs of a batch made, none of their tasks": Point(rows, "_insert", short=True),
    "dispatch: runs made, marks not written": Point(queue, "mark_dispatched", before=True),
    "dispatch: runs and marks written, not committed": Point(dispatch.Dispatcher, "_dispatch", short=True),
    "consumers: asset events made, nobody asked": Point(launch.AirflowLauncher, "ask_for_runs", before=True),
    "consumers: asked for runs, not committed": Point(launch.AirflowLauncher, "ask_for_runs", short=True),
    "consumers: found what waits, not committed": Point(sweep, "discover"),
    "consumers: asked again for runs, not committed": Point(requeueing, "ask"),
    "dispatch: committed": Point(launch.AirflowLauncher, "announce", short=True),
}


def die_at(point: Point, number: int) -> None:
    """End this process when the point is reached for the ``number``-th time."""
    original: Callable[..., Any] = getattr(point.owner, point.name)
    reached = 0

    def reach() -> None:
        nonlocal reached
        reached += 1
        if reached >= number:
            os.kill(os.getpid(), signal.SIGKILL)

    @wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if point.before:
            reach()
        result = original(*args, **kwargs)
        if not point.before:
            reach()
        return result

    setattr(point.owner, point.name, wrapped)
