"""How commands end: the result alone on standard output, a sentence on standard error, an exit code."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, TextIO

import yaml
from sqlalchemy.exc import OperationalError, ProgrammingError

from airflow_incoming.core.errors import DatabaseUnavailable, IncomingError

REFUSED = 1
NO_DATABASE = 3

#: How SQLite, PostgreSQL and MySQL say that a table or column of ours isn't there.
_NOT_MIGRATED = re.compile(
    r"no such (table|column)|(relation|column) \S+ does not exist|Table \S+ doesn't exist|Unknown column"
)
#: What a terminal may obey though it is part of no JSON escape: DEL and the C1 controls.
_CONTROLS = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}

#: What a command returns: rows, or one mapping.
Result = Any
Handler = Callable[[Namespace], Result]


@dataclass(frozen=True, slots=True)
class Failure:
    """A result that is printed, and a command that ends with ``code`` all the same."""

    result: Result
    code: int


def command(handler: Handler) -> Callable[[Namespace], None]:
    """Make a handler a command: print what it returns in the format of ``args.output``."""

    @functools.wraps(handler)
    def run(args: Namespace) -> None:
        with _results_alone() as stream:
            try:
                result = handler(args)
                code = 0
                if isinstance(result, Failure):
                    result, code = result.result, result.code
                if result is not None:
                    _write(stream, render(result, args.output))
                if code:
                    raise SystemExit(code)
            except (DatabaseUnavailable, OperationalError, ProgrammingError) as error:
                fail(_explain(error), NO_DATABASE)
            except (IncomingError, ValueError) as error:
                fail(str(error), REFUSED)

    return run


def render(result: Result, output: str) -> str:
    """Return a result as text that ends with a newline."""
    if output == "json":
        text = json.dumps(result, default=_plain, indent=2, ensure_ascii=False)
        return text.translate(_CONTROLS) + "\n"
    if output == "yaml":
        plain = json.loads(json.dumps(result, default=_plain))
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    return _table(result)


def note(sentence: str) -> None:
    """Say something that isn't the result."""
    print(sentence, file=sys.stderr)


def fail(sentence: str, code: int) -> NoReturn:
    """End the command with a sentence."""
    note(f"error: {sentence}")
    raise SystemExit(code)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; refuse where nobody can answer. Ends the command unless the answer is yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Nobody can be asked here; add --yes.", REFUSED)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        fail("Nothing was changed.", REFUSED)


@contextmanager
def _results_alone() -> Iterator[TextIO]:
    """Yield the real standard output; whatever else writes there, logs among it, goes to standard error."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(real, "w", encoding="utf-8", closefd=False) as stream:
            yield stream
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _explain(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, DatabaseUnavailable) else error
    text = (str(getattr(cause, "orig", None) or cause or error).strip() or repr(cause)).splitlines()[0]
    if _NOT_MIGRATED.search(text):
        return f"The tables of airflow-incoming are missing ({text}). Run: airflow db migrate"
    return f"The metadata database is unavailable: {text}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def _table(result: Result) -> str:
    rows: Sequence[dict[str, Any]]
    if isinstance(result, dict):
        rows = [{"field": name, "value": value} for name, value in result.items()]
    else:
        rows = result
    if not rows:
        return "Nothing found.\n"
    cells = [[_cell(value) for value in row.values()] for row in rows]
    names = list(rows[0])
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    lines = [names, ["-" * width for width in widths], *cells]
    return "".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, dict):
        return _cell(json.dumps(value, default=_plain, ensure_ascii=False))
    # What strangers sent is shown here; nothing of it may steer the terminal.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(str(value).split()))
