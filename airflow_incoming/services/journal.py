"""Lines of the log that machines read, too: a sentence and fields, never anything of a request.

Airflow's logging shows as fields what is bound to the context, as JSON or behind the sentence;
``extra`` it leaves out. :class:`FieldsFormatter` does the same where Airflow's logging isn't used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TypeAlias

from structlog.contextvars import bound_contextvars

from airflow_incoming.core.messages import Event

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
