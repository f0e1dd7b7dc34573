"""Two intakes side by side: small events never wait for the transaction that stores large ones.

A megabyte takes the database as long as a hundred ordinary events. The claims of both lanes meet in the
database, which decides between them as it does between processes.
"""

from __future__ import annotations

from concurrent.futures import Future

from airflow_incoming.core.messages import Event, Outcome
from airflow_incoming.services.intake import Intake

#: Characters of a body up to which an event is small.
SMALL = 16 * 2**10


class Lanes:
    """Looks like one intake."""

    def __init__(self, *, small: Intake, large: Intake) -> None:
        self._small = small
        self._large = large

    def start(self) -> None:
        """Start both."""
        self._small.start()
        self._large.start()

    def stop(self) -> None:
        """Take in what waits in both, refuse what comes after."""
        self._small.stop()
        self._large.stop()

    def submit(self, event: Event) -> Future[Outcome]:
        """See :meth:`Intake.submit`."""
        return (self._small if len(event.body) <= SMALL else self._large).submit(event)
