"""Check the code and run the test rooms, in an environment made from the lock file in .test.

Without arguments everything runs; with names of checks or rooms, only those.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from workbench.environment import REQUIREMENTS, ROOT, Environment, clean_environ
from workbench.steps import Failed, say

HOME = ROOT / ".test"
#: What looks at the code without running it: commands of the environment.
CHECKS = {
    "lint": (("ruff", "check"), ("ruff", "format", "--check"), ("codespell",)),
    "types": (("mypy",),),
    "imports": (("lint-imports",),),
}
#: Folders of tests/, from what needs nothing to what needs most.
ROOMS = ("unit", "contract", "migrations", "integration", "e2e", "siege", "faults")
#: Rooms that take little longer together than the longest of them: those that compute beside those that wait
#: for databases, and those that wait for Airflow and a browser most of their time.
SIDE_BY_SIDE = (frozenset({"unit", "contract", "migrations"}), frozenset({"integration", "e2e"}))
#: What pytest says when a room has no test in it.
NO_TESTS = 5
#: Seconds after which a check or a room is given up.
LIMIT = 20 * 60


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one room went. A check counts as one test."""

    room: str
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/test", description=__doc__, epilog="What follows -- is handed to pytest."
    )
    choices = (*CHECKS, *ROOMS)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"one of {', '.join(choices)}")
    arguments, rest = _split(sys.argv[1:])
    rooms = parser.parse_args(arguments).rooms or [room for room in choices if _exists(room)]
    if strange := [room for room in rooms if room not in choices or not _exists(room)]:
        parser.error(f"no such room: {', '.join(strange)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    environment = Environment(HOME / "venv", REQUIREMENTS / "test.txt")
    try:
        environment.prepare()
        results = [result for group in _groups(rooms) for result in _run(environment, group, rest)]
    except Failed as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    _report(results)
    return 1 if any(result.failed for result in results) else 0


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our arguments and pytest's."""
    ours = list(arguments)
    at = ours.index("--") if "--" in ours else len(ours)
    return ours[:at], ours[at + 1 :]


def _exists(room: str) -> bool:
    return room in CHECKS or any((ROOT / "tests" / room).rglob("test_*.py"))


def _groups(rooms: Sequence[str]) -> list[list[str]]:
    """Return rooms in their order; those that are run side by side in one group."""
    groups: list[list[str]] = []
    for room in rooms:
        if groups and any(together.issuperset((room, *groups[-1])) for together in SIDE_BY_SIDE):
            groups[-1].append(room)
        else:
            groups.append([room])
    return groups


def _run(environment: Environment, rooms: Sequence[str], options: Sequence[str]) -> list[Result]:
    """Run the rooms of a group; what several print is shown when each is done."""
    say(f"\n== {', '.join(rooms)} ==")
    if rooms[0] in CHECKS:
        return [_check(environment, rooms[0])]
    logs = [None if len(rooms) == 1 else HOME / "reports" / f"{room}.log" for room in rooms]
    running = []
    for room, log in zip(rooms, logs, strict=True):
        report = _report_of(room)
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        words = ("pytest", f"tests/{room}", f"--junitxml={report}", *options)
        running.append(Command(environment, words, log))
    _wait(running)
    return [_result(command, room) for command, room in zip(running, rooms, strict=True)]


def _check(environment: Environment, name: str) -> Result:
    began = time.monotonic()
    failed = False
    for words in CHECKS[name]:
        command = Command(environment, words)
        _wait([command])
        failed = failed or command.code != 0
    return Result(room=name, seconds=time.monotonic() - began, passed=int(not failed), failed=int(failed))


def _wait(commands: Sequence[Command]) -> None:
    """Wait until all have ended; Ctrl-C ends them."""
    try:
        while sum(command.has_ended() for command in commands) < len(commands):
            time.sleep(0.05)
    except KeyboardInterrupt:
        for command in commands:
            command.interrupt()
        raise


def _result(command: Command, room: str) -> Result:
    code = command.code
    if command.log is not None:
        say(f"\n== {room} ==\n{command.log.read_text(encoding='utf-8', errors='replace')}")
    passed, failures, skipped = _count(_report_of(room))
    if code not in (0, NO_TESTS):
        failures = max(failures, 1)  # a room that broke down before it could count has failed
    return Result(room=room, seconds=command.seconds, passed=passed, failed=failures, skipped=skipped)


def _report_of(room: str) -> Path:
    return HOME / "reports" / f"{room}.xml"


class Command:
    """A running program of the environment, with its output in ``log`` or, without one, here."""

    def __init__(self, environment: Environment, words: Sequence[str], log: Path | None = None) -> None:
        self.log = log
        self.seconds = 0.0
        self._name, *arguments = words
        self._began = time.monotonic()
        path = f"{environment.directory / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        env = clean_environ() | {"PATH": path, "VIRTUAL_ENV": str(environment.directory)}
        with nullcontext() if log is None else log.open("wb") as output:
            self._process = subprocess.Popen(
                [environment.binary(self._name), *arguments],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if log is None else subprocess.STDOUT,
            )

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.returncode

    def has_ended(self) -> bool:
        """Look at it; end it, as Ctrl-C would, when it takes longer than LIMIT."""
        if self._process.poll() is None:
            if time.monotonic() - self._began < LIMIT:
                return False
            self.interrupt()
            say(f"{self._name} was ended: it took more than {LIMIT // 60} minutes.")
        self.seconds = self.seconds or time.monotonic() - self._began
        return True

    def interrupt(self) -> None:
        """Let it stop what it has started; a second time it may not finish that."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
                return


def _count(report: Path) -> tuple[int, int, int]:
    """Return how many tests passed, failed and were skipped."""
    if not report.exists():
        return 0, 0, 0
    passed = failed = skipped = 0
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 -- pytest wrote it just now
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def _report(results: Sequence[Result]) -> None:
    say(f"\n{'room':<12} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for result in results:
        counts = f"{result.passed:>7} {result.failed:>7} {result.skipped:>8}"
        say(f"{result.room:<12} {counts} {result.seconds:>8.1f}")
    passed, failed, skipped = (
        sum(getattr(result, name) for result in results) for name in ("passed", "failed", "skipped")
    )
    say(f"\ntotal: {passed} passed, {failed} failed, {skipped} skipped")


if __name__ == "__main__":
    sys.exit(main())
