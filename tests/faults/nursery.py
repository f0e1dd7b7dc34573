"""Starts ``airflow`` commands in a moment: one process imports Airflow, and forks each command.

What runs is what ``airflow incoming serve`` runs, in a process of its own, to be killed like any
other; only the seconds of importing are saved. ``Nursery`` is the test's side of it. The forked
process may be told to die at a point, or to break a promise: see :mod:`killer` and :mod:`variants`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]


class Child:
    """A forked command. Dead means that the nursery has seen its end."""

    def __init__(self, nursery: Nursery, order: dict[str, Any]) -> None:
        self._nursery = nursery
        self._order = order
        self.log = Path(order["log"])
        self.pid = nursery.fork(order)

    @property
    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def start(self, **changes: Any) -> None:
        """Start the command again, under another process id."""
        self.pid = self._nursery.fork({**self._order, **changes})


class Nursery:
    """The process that forks, and the pipe to it."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        self._lock = threading.Lock()
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.nursery"],
                cwd=ROOT,
                env={**env, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
            )
        assert self._ask({}) == "ready", log.read_text()

    def command(
        self,
        *words: str,
        env: Mapping[str, str],
        log: Path,
        die_at: tuple[str, int] | None = None,
        variant: str | None = None,
    ) -> Child:
        """Start ``airflow WORDS``, to die at a point and to be broken in a way, if that is asked for."""
        order = {"words": words, "env": dict(env), "log": str(log), "die_at": die_at, "variant": variant}
        return Child(self, order)

    def fork(self, order: Mapping[str, Any]) -> int:
        return int(self._ask(order))

    def close(self) -> None:
        """End it and all that it has forked."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _ask(self, order: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, "the nursery has ended"
        return json.loads(answer)


def _work() -> NoReturn:
    """Fork what is asked for, a line each, until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Airflow prints while it is imported is no answer
    _import_all()
    signal.signal(signal.SIGCHLD, _reap)
    for line in sys.stdin:
        order = json.loads(line)
        answer: Any = "ready"
        if order:
            answer = os.fork()
            if answer == 0:
                _become(order)
        print(json.dumps(answer), file=answers, flush=True)
    os.killpg(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process goes on")


def _import_all() -> None:
    """Import what the commands need, with Airflow's application: making that takes longest."""
    os.environ["AIRFLOW_API_APPS"] = "all"
    import uvicorn.loops.auto
    import uvicorn.protocols.http.auto  # noqa: F401
    from airflow.cli.cli_parser import get_parser

    import airflow_incoming.services.launch
    import airflow_incoming.web.server  # noqa: F401

    get_parser()


def _reap(*_: Any) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become(order: Mapping[str, Any]) -> NoReturn:
    """Be the command, in the forked process."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(ours, theirs)
        os.environ.clear()
        os.environ.update(order["env"])
        _forget_the_database()
        if order["variant"]:
            from tests.faults.variants import break_promise

            break_promise(order["variant"])
        if order["die_at"]:
            from tests.faults.killer import POINTS, die_at

            point, number = order["die_at"]
            die_at(POINTS[point], number)
        sys.argv = ["airflow", *order["words"]]
        from airflow.__main__ import main

        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  whatever it is, this process may not go on as the nursery
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _forget_the_database() -> None:
    """Forget what was configured before; the environment that was just set counts."""
    from airflow import settings

    from airflow_incoming import bootstrap

    for configured in (bootstrap.settings, bootstrap.engine):
        configured.cache_clear()
    settings.dispose_orm(do_log=False)
    settings.configure_vars()
    settings.configure_orm()


if __name__ == "__main__":
    _work()
