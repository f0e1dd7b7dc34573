"""Lines of the log that machines read, too: a sentence and fields, never anything of a request.

Airflow's logging shows as fields what is bound to the context, as JSON or behind the sentence;
``extra`` it leaves out. :class:`FieldsFormatter` does the same where Airflow's logging isn't used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TypeAlias

from structlog.contextvars import bound_contextvars

from airflow_incoming.core.messages import Event
from airflow_incoming.core.rates import RateLimiter
from airflow_incoming.core.units import Rate

#: Lines of a kind that strangers may cause.
LINES = Rate(10, 60)
#: Kinds of lines that are told apart, and characters of what they say by which they are.
MOST_KINDS = 100
MOST_OF_KIND = 100

Field: TypeAlias = "str | int | list[str]"


def tell(log: logging.Logger, level: int, sentence: str, **fields: Field) -> None:
    """Write one line. Fields are what we made ourselves: ids, numbers, names of integrations."""
    if log.isEnabledFor(level):
        with bound_contextvars(**fields):
            log.log(level, sentence, extra={"fields": fields})


def ids_by_integration(events: Iterable[Event]) -> dict[str, list[str]]:
    """Return the ids of events by the name of their integration."""
    ids: dict[str, list[str]] = {}
    for event in events:
        ids.setdefault(event.integration, []).append(str(event.id))
    return ids


class Seldom(logging.Filter):
    """Lets only so many warnings of a kind pass: what strangers may cause fills no log.

    The next one that passes says how many were left out. What differs in a kind's lines are its arguments.
    """

    def __init__(self, rate: Rate = LINES, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._rate = rate
        self._kinds = RateLimiter(monotonic, capacity=MOST_KINDS)
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is to be written."""
        if record.levelno < logging.WARNING:
            return True
        kind = str(record.msg)[:MOST_OF_KIND]
        if self._kinds.take(kind, self._rate) > 0:
            if len(self._left_out) < MOST_KINDS:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        if left_out := self._left_out.pop(kind, 0):
            record.msg = f"{record.getMessage().rstrip()} ({left_out} more such lines were left out)"
            record.args = ()
        return True


class FieldsFormatter(logging.Formatter):
    """Writes fields behind the sentence: ``integration=orders count=2 event_ids=…,…``."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the base class has it so
        """Return the line without a traceback."""
        fields: dict[str, Field] = getattr(record, "fields", {})
        shown = (
            f" {name}={','.join(value) if isinstance(value, list) else value}"
            for name, value in fields.items()
        )
        return super().formatMessage(record) + "".join(shown)
