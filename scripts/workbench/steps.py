"""Progress as a person sees it: one short line a step, with the time it took."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Failed(Exception):
    """A step failed; the message is what the person at the terminal reads."""


class Step:
    """One line that is being worked on; ``note`` is added to it when it is done."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.note = ""
        self._began = time.monotonic()

    def line(self, mark: str) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"  {mark} {self.title + note:<72} {time.monotonic() - self._began:6.1f} s"


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Show that something goes on, and how long it took."""
    current = Step(title)
    finished = threading.Event()
    ticker = threading.Thread(target=_tick, args=(current, finished), daemon=True)
    if sys.stdout.isatty():
        ticker.start()
    else:
        print(f"    {title} …", flush=True)
    mark = "✗"
    try:
        yield current
        mark = "✓"
    finally:
        finished.set()
        if ticker.is_alive():
            ticker.join()
        start = "\r\033[K" if sys.stdout.isatty() else ""
        print(f"{start}{current.line(mark)}", flush=True)


def _tick(current: Step, finished: threading.Event) -> None:
    while not finished.wait(0.2):
        print(f"\r\033[K{current.line('·')}", end="", flush=True)


def say(text: str = "") -> None:
    print(text, flush=True)
