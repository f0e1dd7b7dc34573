"""Real processes with logs, health and a certain end: what we start is gone when we are."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.steps import Failed


def free_port(preferred: int | None = None) -> int:
    """Return ``preferred`` if nobody listens there on this machine, and else any free port."""
    for port in (preferred, 0) if preferred else (0,):
        if port and _answers(port):
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            chosen: int = probe.getsockname()[1]
            return chosen
    raise Failed("No free port on 127.0.0.1.")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def fetch(
    url: str, *, payload: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 10
) -> tuple[int, Mapping[str, str], Any]:
    """GET, or POST ``payload`` as JSON; return status, headers and the parsed body (or its text).

    The status is 0 if nobody answers.
    """
    data = None if payload is None else json.dumps(payload).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # loopback never goes through a proxy
    try:
        with opener.open(request, timeout=timeout) as response:
            status, received, body = response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, received, body = error.code, error.headers, error.read()
    except OSError:
        return 0, {}, None
    try:
        return status, received, json.loads(body)
    except ValueError:
        return status, received, body.decode(errors="replace")


class Process:
    """A command that runs in a process group of its own, with its output in ``log``.

    ``user`` is the id of the user that it runs as, where we are root and it must not be.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        log: Path,
        user: int | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.env = dict(env)
        self.log = log
        self._demoted: dict[str, Any] = (
            {} if user is None else {"user": user, "group": user, "extra_groups": []}
        )
        self._popen: subprocess.Popen[bytes] | None = None
        self.returncode: int | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None, f"{self.name} was never started"
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> Process:
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/" if self._demoted else None,
                start_new_session=True,
                **self._demoted,
            )
        return self

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 60, what: str = "ready") -> Process:
        """Wait for ``ready()``; fail at once if the process ends meanwhile."""
        try:
            wait_until(ready, seconds=seconds, what=f"{self.name} to be {what}", alive=lambda: self.alive)
        except Failed as failure:
            raise Failed(f"{failure}\n{self.tail()}") from None
        return self

    def send(self, number: int) -> None:
        """Send a signal to the process and its group: SIGSTOP and SIGCONT make it hang and go on."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.stop(number=signal.SIGKILL)

    def stop(self, *, number: int = signal.SIGTERM, seconds: float = 15) -> None:
        """End it and all it started: politely, and after ``seconds`` not."""
        self.ask_to_end(number)
        self.see_off(seconds=seconds)

    def ask_to_end(self, number: int = signal.SIGTERM) -> None:
        if self.alive:
            self.send(number)
            self.send(signal.SIGCONT)  # what was made to hang doesn't hear a polite word

    def see_off(self, *, seconds: float = 15) -> None:
        """Wait for its end, and then end whatever is left of its group."""
        if self._popen is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)
        self.send(signal.SIGKILL)
        self.returncode = self._popen.wait(5)
        self._popen = None

    def tail(self, lines: int = 20) -> str:
        """Return the end of its log, indented."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        last = text.splitlines()[-lines:]
        return "\n".join([f"The last lines of {self.log}:", *(f"    {line}" for line in last)])


def wait_until(
    ready: Callable[[], bool],
    *,
    seconds: float,
    what: str,
    alive: Callable[[], bool] = lambda: True,
    every: float = 0.1,
) -> None:
    """Ask ``ready()`` every so many seconds until it is true, or ``alive()`` is not."""
    end = time.monotonic() + seconds
    while True:
        was_alive = alive()  # asked first: it may become ready and end between the two questions
        if ready():
            return
        if not was_alive:
            raise Failed(f"Waited for {what}, but the process has ended.")
        if time.monotonic() > end:
            raise Failed(f"Waited {seconds:.0f} s for {what}.")
        time.sleep(every)


def descendants(pid: int) -> list[int]:
    """Return the ids of all that a process has started, and that those have, in whatever group."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = {int(child): int(parent) for child, parent in map(str.split, listed.stdout.splitlines())}
    found = [pid]
    for each in found:  # which grows meanwhile
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


class Processes:
    """All processes of one run; leaving the ``with`` block stops them, the last first.

    If ``ledger`` is given, it names those that run, so that the next run can end what a killed one
    left behind.
    """

    def __init__(self, ledger: Path | None = None) -> None:
        self._running: list[Process] = []
        self._ledger = ledger

    def __enter__(self) -> Processes:
        if self._ledger is not None and self._ledger.exists():
            with suppress(ValueError):  # half written
                self._end_left_behind(json.loads(self._ledger.read_text()))
        return self

    def _end_left_behind(self, known: dict[str, str | None]) -> None:
        for pid, began in known.items():
            if began and _began(int(pid)) == began:
                with suppress(OSError):
                    os.killpg(int(pid), signal.SIGKILL)

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self, process: Process) -> Process:
        self._running.append(process)
        process.start()
        self._note()
        return process

    def stop(self) -> None:
        """Ask all to end at once (each is slow to), then see each one off."""
        for process in reversed(self._running):
            process.ask_to_end()
        for process in reversed(self._running):
            process.see_off()
        self._running.clear()
        if self._ledger is not None:
            self._ledger.unlink(missing_ok=True)

    def running(self) -> list[Process]:
        """Return all that were started and not stopped."""
        return list(self._running)

    def ended(self) -> Process | None:
        """Return one that has ended by itself, if any has."""
        return next((process for process in self._running if not process.alive), None)

    def _note(self) -> None:
        if self._ledger is not None:
            self._ledger.write_text(json.dumps({p.pid: _began(p.pid) for p in self._running if p.alive}))


def _began(pid: int) -> str | None:
    """Return what tells this process from a later one with the same id: when it began."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        if stat.exists():
            return stat.read_text().rpartition(")")[2].split()[19]
        done = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() or None
    except OSError:
        return None
