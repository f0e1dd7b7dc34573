"""What became of the events of one batch, for whoever watches: a few lines of the log, and metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from logging import INFO, WARNING

from airflow_incoming.core.errors import DispatchFailed
from airflow_incoming.core.messages import Event
from airflow_incoming.services.batches import Tally
from airflow_incoming.services.journal import Field, ids_by_integration, tell
from airflow_incoming.services.ports import DispatchMeter


class Report:
    """Collects what happens to a batch, and tells it when that is committed."""

    def __init__(
        self, log: logging.Logger, clock: Callable[[], datetime], meter: DispatchMeter | None
    ) -> None:
        self._log = log
        self._clock = clock
        self._meter = meter
        self.dispatched: list[Event] = []
        #: Events that failed and those that died, by their state.
        self.undone: dict[str, list[Event]] = {}
        self._explained: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """Forget the batch before."""
        self.dispatched.clear()
        self.undone.clear()
        self._explained.clear()

    def unexpected(self, event: Event, error: Exception) -> DispatchFailed:
        """Return what an event keeps of an error that nobody foresaw.

        The traceback is logged at once, but of a batch only one of each kind for each integration.
        """
        kind = (event.integration, type(error).__name__)
        if kind not in self._explained:
            self._explained.add(kind)
            sentence = "Event %s of %s could not be dispatched"
            self._log.error(sentence, event.id, event.integration, exc_info=error)
        return DispatchFailed(
            f"Airflow could not create the run ({type(error).__name__}: {first_line(error)}). "
            "The server's log has the details.",
            retry=True,
        )

    def tell(self, tally: Tally) -> None:
        """Tell it: a line for each integration and what became of its events, however many they are."""
        self._line(INFO, "Dispatched events", self.dispatched)
        # The reason may quote the payload, so it is kept with the event and not logged.
        for state, events in self.undone.items():
            self._line(WARNING, "Events could not be dispatched", events, state=state)
        if self._meter is not None:
            now = self._clock()
            # The clock of whoever received them may be ahead.
            lags = [max(0.0, (now - event.received_at).total_seconds()) for event in self.dispatched]
            self._meter.dispatched(tally, lags)

    def _line(self, level: int, sentence: str, events: Sequence[Event], **about: Field) -> None:
        for integration, ids in ids_by_integration(events).items():
            fields: dict[str, Field] = {"integration": integration, "count": len(ids), "event_ids": ids}
            tell(self._log, level, sentence, **fields, **about)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, at most 300 characters."""
    return (str(error).splitlines() or [""])[0][:300]
