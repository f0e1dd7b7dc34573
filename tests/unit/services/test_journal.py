"""Lines of the log: a sentence and fields."""

from __future__ import annotations

import logging

import pytest
from structlog.contextvars import get_contextvars

from airflow_incoming.services.journal import FieldsFormatter, tell

FORMATTER = FieldsFormatter("%(levelname)s %(message)s")


def test_fields_are_written_behind_the_sentence(caplog: pytest.LogCaptureFixture) -> None:
    """Where Airflow's logging isn't used; a list as its items. A line without fields is as it was."""
    log = logging.getLogger("airflow_incoming.test")
    with caplog.at_level(logging.INFO, log.name):
        tell(log, logging.INFO, "Dispatched events", integration="orders", count=2, event_ids=["a", "b"])
        log.info("Nothing %s", "else")
    assert [FORMATTER.format(record) for record in caplog.records] == [
        "INFO Dispatched events integration=orders count=2 event_ids=a,b",
        "INFO Nothing else",
    ]


def test_fields_are_bound_for_one_line_only() -> None:
    """Airflow's logging shows what is bound to the context; the next line is another matter."""
    log = logging.getLogger("airflow_incoming.test_bound")
    seen = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(get_contextvars())

    log.addHandler(Handler())
    log.setLevel(logging.INFO)
    tell(log, logging.INFO, "one", event_id="a")
    tell(log, logging.DEBUG, "not at this level", event_id="b")
    log.info("another")
    assert seen == [{"event_id": "a"}, {}]
