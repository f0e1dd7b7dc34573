"""What a fault is, and the list of all: see the ``faults_of_…`` modules for what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType

import psycopg2
from redis.exceptions import RedisError

from tests.faults.limits import Limits
from tests.faults.stage import Stage

Play = Callable[[Stage], None]


@dataclass(frozen=True)
class Fault:
    """One play. ``short``: it is part of the selection that every test run plays.

    ``limits`` hold unless the README names the fault among its exceptions.
    """

    name: str
    play: Play
    short: bool
    sqlite: bool
    limits: Limits


def fault(
    name: str, *, short: bool = False, sqlite: bool = False, limits: Limits | None = None
) -> Callable[[Play], Fault]:
    """Make a fault of a play."""
    return lambda play: Fault(name, play, short, sqlite, limits or Limits())


def all_of(*modules: ModuleType) -> list[Fault]:
    """Return the faults of modules, in their order."""
    return [each for module in modules for each in vars(module).values() if isinstance(each, Fault)]


@contextmanager
def again_and_again(act: Callable[[], object], *, every: float) -> Iterator[None]:
    """Do something in a thread during the block, whatever becomes of it."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(every):
            with suppress(RedisError, psycopg2.Error):
                act()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(30)
