"""Lines of the log: a sentence and fields."""

from __future__ import annotations

import logging

import pytest
from structlog.contextvars import get_contextvars

from airflow_incoming.core.units import Rate
from airflow_incoming.services.journal import FieldsFormatter, Seldom, tell

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


def test_what_strangers_cause_fills_no_log() -> None:
    """Two warnings of a kind; other kinds, and what is no warning, pass. What was left out is told."""
    log = logging.getLogger("airflow_incoming.test_seldom")
    log.setLevel(logging.INFO)
    seen: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    seconds = 0.0
    seldom = Seldom(Rate(2, 60), monotonic=lambda: seconds)
    log.addHandler(Handler())
    log.addFilter(seldom)
    for number in range(500):
        log.warning("Refused %d", number)
    log.error("Another")
    for number in range(3):
        log.info("Started %d", number)
    assert seen == ["Refused 0", "Refused 1", "Another", "Started 0", "Started 1", "Started 2"]
    seconds = 60.0
    log.warning("Refused %d", 500)
    log.removeFilter(seldom)
    assert seen[-1] == "Refused 500 (498 more such lines were left out)"
