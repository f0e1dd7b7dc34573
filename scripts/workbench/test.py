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
from contextlib import suppress
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
ROOMS = ("unit", "contract", "migrations", "integration", "e2e", "faults")
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
        results = [_run(environment, room, rest) for room in rooms]
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


def _run(environment: Environment, room: str, options: Sequence[str]) -> Result:
    say(f"\n== {room} ==")
    began = time.monotonic()
    if room in CHECKS:
        codes = [_call(environment, *command) for command in CHECKS[room]]
        failed = any(codes)
        return Result(room=room, seconds=time.monotonic() - began, passed=int(not failed), failed=int(failed))
    report = HOME / "reports" / f"{room}.xml"
    report.unlink(missing_ok=True)
    code = _call(environment, "pytest", f"tests/{room}", f"--junitxml={report}", *options)
    seconds = time.monotonic() - began
    passed, failures, skipped = _count(report)
    if code not in (0, NO_TESTS):
        failures = max(failures, 1)  # a room that broke down before it could count has failed
    return Result(room=room, seconds=seconds, passed=passed, failed=failures, skipped=skipped)


def _call(environment: Environment, program: str, *arguments: str) -> int:
    """Run a program of the environment; end it, as Ctrl-C would, when it takes longer than LIMIT."""
    path = f"{environment.directory / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    env = clean_environ() | {"PATH": path, "VIRTUAL_ENV": str(environment.directory)}
    running = subprocess.Popen(
        [environment.binary(program), *arguments], cwd=ROOT, env=env, stdin=subprocess.DEVNULL
    )
    try:
        return running.wait(LIMIT)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as reason:
        _interrupt(running)
        if isinstance(reason, KeyboardInterrupt):
            raise
        say(f"{program} was ended: it took more than {LIMIT // 60} minutes.")
        return running.returncode or 1


def _interrupt(running: subprocess.Popen[bytes]) -> None:
    """Let it stop what it has started; a second time it may not finish that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        running.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            running.wait(30)
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
