"""The thread, or the process, that dispatches until it is stopped."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from airflow_incoming.core.errors import DatabaseUnavailable
from airflow_incoming.services.batches import Tally
from airflow_incoming.services.dispatch import Dispatcher
from airflow_incoming.stores.bell import Bell

log = logging.getLogger(__name__)

#: Seconds after a first failure, then twice as many each time, up to the longest.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 8.0
#: In a process that answers requests, too: seconds for which a thread may keep Python's lock from others
#: while a batch is dispatched (by default it is ten times as long), for what part of a batch's time they
#: have the process to themselves after it, and how many seconds that is at most.
TURN = 0.0005
REST, LONGEST_REST = 0.3, 0.1


class DispatchLoop:
    """Runs a dispatcher and its housekeeping in a thread until stopped.

    ``shares_process``: others answer requests in this process, and are left time to.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        housekeeping: Housekeeper,
        *,
        interval: timedelta,
        bell: Bell | None = None,
        shares_process: bool = False,
    ) -> None:
        self._dispatcher = dispatcher
        self._housekeeping = housekeeping
        self._interval = interval.total_seconds()
        self._bell = bell
        self._shares_process = shares_process
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self.run, name="incoming-dispatch", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look for events now; may be called from any thread."""
        self._woken.set()

    def stop(self, timeout: float = 30.0) -> None:
        """Finish the batch in hand and stop."""
        self._stopping.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def drain(self) -> Tally:
        """Dispatch, in this thread, until nothing is due; return what became of it all."""
        tally = Tally()
        more = True
        try:
            while more:  # what was released by one tick may not be all that waits for it
                more = self._housekeeping.tick()
                tally.add(self._dispatcher.drain())
            return tally
        finally:
            self._housekeeping.leave()

    def run(self) -> None:
        """Dispatch until stopped."""
        if self._bell is not None:
            self._bell.listen(self.wake)
        self._dispatch()
        if self._bell is not None:
            self._bell.stop()
        self._housekeeping.leave()

    def _dispatch(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                busy = self._dispatch_batch()
                busy = self._housekeeping.tick() or busy
                failures = 0
            except DatabaseUnavailable as error:
                failures += 1
                log.warning("%s Dispatching pauses.", error.title())
            except Exception:
                failures += 1
                log.exception("A batch could not be dispatched")
            if failures:
                self._stopping.wait(pause_after(failures))
            elif not busy:
                self._woken.wait(self._interval)

    def _dispatch_batch(self) -> bool:
        """Dispatch a batch; tell whether there was anything in it."""
        if not self._shares_process:
            return self._dispatcher.dispatch_batch().total > 0
        began = time.monotonic()
        with short_turns():
            busy = self._dispatcher.dispatch_batch().total > 0
        if busy:
            self._stopping.wait(min(REST * (time.monotonic() - began), LONGEST_REST))
        return busy


@contextmanager
def short_turns() -> Iterator[None]:
    """Have the threads of this process take turns more often inside the block."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, TURN))
    try:
        yield
    finally:
        sys.setswitchinterval(usual + 5e-7)  # Python cuts off what is less than a microsecond


def pause_after(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row, however many they are."""
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)


class Housekeeper(Protocol):
    """What a dispatcher does beside dispatching."""

    def tick(self) -> bool:
        """Do what is due; tell whether there is more to do at once. Raises DatabaseUnavailable."""

    def leave(self) -> None:
        """Say good-bye."""
