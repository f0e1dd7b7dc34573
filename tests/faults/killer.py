"""Runs an ``airflow`` command that dies, as by ``kill -9``, at a named point.

``python killer.py POINT NUMBER incoming serve …``: at the NUMBERth time that the point is reached.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from airflow_incoming.services import dispatch, intake, launch
from airflow_incoming.services.launch import rows
from airflow_incoming.stores import inbox, inbox_postgresql

POINTS: dict[str, tuple[Any, str]] = {
    "intake: events in hand, not stored": (inbox_postgresql, "_arrays"),
    "intake: committed, nobody answered": (inbox.Inbox, "append"),
    "intake: answered, Redis not told": (intake, "_resolve"),
    "intake: answered, Redis told": (intake.Intake, "_remember"),
    "dispatch: the runs of a batch made, none of their tasks": (rows, "_insert"),
    "dispatch: all runs and marks written, not committed": (dispatch.Dispatcher, "_dispatch"),
    "dispatch: committed": (launch.AirflowLauncher, "announce"),
}


def die_after(owner: Any, name: str, number: int) -> None:
    """Let a function work ``number`` times, and end the process when it returns from the last."""
    original: Callable[..., Any] = getattr(owner, name)
    reached = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal reached
        result = original(*args, **kwargs)
        reached += 1
        if reached >= number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    point, number, *command = sys.argv[1:]
    die_after(*POINTS[point], int(number))
    sys.argv = ["airflow", *command]
    from airflow.__main__ import main

    main()
