"""The thread, or the process, that dispatches until it is stopped."""

from __future__ import annotations

import logging
import threading
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


class DispatchLoop:
    """Runs a dispatcher and its housekeeping in a thread until stopped."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        housekeeping: Housekeeper,
        *,
        interval: timedelta,
        bell: Bell | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._housekeeping = housekeeping
        self._interval = interval.total_seconds()
        self._bell = bell
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
                busy = self._dispatcher.dispatch_batch().total > 0
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


def pause_after(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row, however many they are."""
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)


class Housekeeper(Protocol):
    """What a dispatcher does beside dispatching."""

    def tick(self) -> bool:
        """Do what is due; tell whether there is more to do at once. Raises DatabaseUnavailable."""

    def leave(self) -> None:
        """Say good-bye."""
