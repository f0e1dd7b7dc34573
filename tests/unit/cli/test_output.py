"""Results alone on standard output, sentences on standard error, and the exit code."""

from __future__ import annotations

import json
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from datetime import datetime, timezone
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
import yaml
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from airflow_incoming.cli.output import Failure, command, confirm, render
from airflow_incoming.core.errors import DatabaseUnavailable, InvalidConfiguration, NotFound, RedisUnavailable

ROW = {
    "name": "orders",
    "id": UUID("01920000-0000-7000-8000-000000000001"),
    "at": datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc),
    "dags": ["a", "b"],
    "live": True,
    "error": None,
}
AS_DATA = {
    "name": "orders",
    "id": "01920000-0000-7000-8000-000000000001",
    "at": "2026-03-01T12:00:00+00:00",
    "dags": ["a", "b"],
    "live": True,
    "error": None,
}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a handler as a command; return exit code, standard output and standard error."""

    def run(handler: Callable[[Namespace], Any], output: str = "json") -> tuple[int, str, str]:
        code = 0
        # A standard output that writes to file descriptor 1, as outside of pytest.
        with open(1, "w", encoding="utf-8", closefd=False) as stdout, monkeypatch.context() as patch:
            patch.setattr("sys.stdout", stdout)
            try:
                command(handler)(Namespace(output=output))
            except SystemExit as end:
                code = int(end.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run


def raising(error: Exception) -> Callable[[Namespace], Any]:
    def handler(_: Namespace) -> Any:
        raise error

    return handler


def test_json_and_yaml_are_the_same_data() -> None:
    """Times, ids and everything else have one spelling in both formats."""
    assert json.loads(render([ROW], "json")) == [AS_DATA]
    assert yaml.safe_load(render([ROW], "yaml")) == [AS_DATA]


def test_a_table_has_a_heading_and_a_line_for_each_row() -> None:
    """Lists are joined, what is absent is empty, and no line ends with blanks."""
    table = render(
        [{"name": "a", "dags": ["x", "y"], "error": None}, {"name": "bcd", "dags": [], "error": "no"}],
        "table",
    )
    assert table == "name  dags  error\n----  ----  -----\na     x, y\nbcd         no\n"


def test_one_thing_is_a_table_of_its_fields() -> None:
    """What isn't a list of rows is shown field by field."""
    assert render({"name": "a", "live": False}, "table") == (
        "field  value\n-----  -----\nname   a\nlive   no\n"
    )


def test_nothing_is_an_empty_list_to_programs_and_a_sentence_to_people() -> None:
    """A program that reads an empty listing needs no special case."""
    assert render([], "json") == "[]\n"
    assert yaml.safe_load(render([], "yaml")) == []
    assert render([], "table") == "Nothing found.\n"


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
@pytest.mark.parametrize("sent", ["\x1b[2J", "\x9b2J", "\x07", "\u202e"])
def test_what_strangers_sent_does_not_steer_the_terminal(output: str, sent: str) -> None:
    """Control sequences of a payload are shown, not obeyed; in data they are still there."""
    result = [{"error": f"a{sent}b", "conf": {"key": sent}}]
    shown = render(result, output)
    assert not {"\x1b", "\x9b", "\x07"} & set(shown)
    if output != "table":
        read = json.loads if output == "json" else yaml.safe_load
        assert read(shown) == result
    else:
        assert "\u202e" not in shown


def test_only_the_result_goes_to_standard_output(run: Run) -> None:
    """Logs, prints and whatever writes to file descriptor 1 go to standard error."""

    def handler(_: Namespace) -> Any:
        print("printed")  # noqa: T201  # what a library may do
        os.write(1, b"written\n")
        logger = logging.getLogger("elsewhere")
        logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.warning("logged")
        logger.handlers.clear()
        return [{"name": "orders"}]

    code, out, err = run(handler)
    assert (code, json.loads(out)) == (0, [{"name": "orders"}])
    assert {"printed", "written", "logged"} <= set(err.split())


def test_standard_output_is_as_it_was_after_a_command(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    """What is printed after a command is printed where it always was."""
    run(lambda _: [])
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (NotFound("event", "x"), 1, "There is no event 'x'."),
        (InvalidConfiguration(("auth",), "is wrong"), 1, "auth: is wrong"),
        (
            ValueError("[incoming] max_body = 'huge': must be a size"),
            1,
            "[incoming] max_body = 'huge': must be a size",
        ),
        (RedisUnavailable("Redis: TimeoutError"), 1, "Redis: TimeoutError"),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(
    run: Run, error: Exception, code: int, sentence: str
) -> None:
    """No traceback and no result; 1 is a refusal or a failure."""
    assert run(raising(error)) == (code, "", f"error: {sentence}\n")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (OperationalError, "no such table: incoming_event"),
        (OperationalError, "no such column: incoming_event.query"),
        (ProgrammingError, 'relation "incoming_event" does not exist'),
        (ProgrammingError, 'column "query" does not exist'),
        (ProgrammingError, "(1146, \"Table 'airflow.incoming_event' doesn't exist\")"),
    ],
)
def test_missing_tables_end_with_3_and_what_to_run(run: Run, kind: type[DBAPIError], told: str) -> None:
    """However the database says so; only the first line of what it says."""
    code, out, err = run(raising(kind("select", {}, Exception(f"{told}\nLINE 1: select"))))
    assert (code, out) == (3, "")
    assert err == f"error: The tables of airflow-incoming are missing ({told}). Run: airflow db migrate\n"


@pytest.mark.parametrize("told", ['FATAL:  database "airflow" does not exist', "Connection refused"])
def test_any_other_error_of_the_database_ends_with_3_and_its_words(run: Run, told: str) -> None:
    """Migrating makes no database, so nobody is sent to do that."""
    code, out, err = run(raising(OperationalError("select", {}, Exception(told))))
    assert (code, out, err) == (3, "", f"error: The metadata database is unavailable: {told}\n")


def test_an_unavailable_database_is_told_with_its_own_words(run: Run) -> None:
    """The stores translate errors of the driver; a person needs the driver's reason."""
    error = DatabaseUnavailable()
    error.__cause__ = OperationalError("select", {}, Exception("Connection refused\nIs the server running?"))
    assert run(raising(error)) == (3, "", "error: The metadata database is unavailable: Connection refused\n")


def test_a_failure_prints_its_result_all_the_same(run: Run) -> None:
    """``check`` shows what is wrong, and tells by the exit code that something is."""
    code, out, _ = run(lambda _: Failure([{"check": "redis"}], 1))
    assert (code, json.loads(out)) == (1, [{"check": "redis"}])


def test_a_command_without_a_result_prints_nothing(run: Run) -> None:
    """A server has no result."""
    assert run(lambda _: None) == (0, "", "")


class Person(StringIO):
    """Somebody at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["y\n", "Yes\n"])
def test_a_person_who_agrees_is_obeyed(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Only "y" and "yes" agree."""
    monkeypatch.setattr("sys.stdin", Person(answer))
    confirm("Delete?", yes=False)


@pytest.mark.parametrize("answer", ["\n", "n\n", "", "yikes\n"])
def test_any_other_answer_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    """Not to answer, or to close the terminal, is no."""
    monkeypatch.setattr("sys.stdin", Person(answer))
    with pytest.raises(SystemExit, match="1"):
        confirm("Delete?", yes=False)
    assert capsys.readouterr() == ("", "Delete? [y/N] error: Nothing was changed.\n")


def test_where_nobody_can_be_asked_the_answer_is_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script has to say --yes; standard input of a pipe is no agreement."""
    monkeypatch.setattr("sys.stdin", StringIO("y\n"))
    with pytest.raises(SystemExit, match="1"):
        confirm("Delete?", yes=False)
    assert "--yes" in capsys.readouterr().err
    confirm("Delete?", yes=True)
