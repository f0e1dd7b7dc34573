"""Every regular expression takes time in proportion to its text, whatever that is."""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import airflow_incoming

PACKAGE = Path(airflow_incoming.__file__).parent
#: Characters of the longest text, and by how much each is longer than the one before.
LONGEST = 64 * 1024
FACTOR = 4
#: Four times the text may take four times as long, not sixteen; there is room for what else the machine does.
MOST = 10.0
#: Seconds below which nothing is compared: clocks and caches would decide.
NOTHING = 0.002

#: Of each expression the texts that it is slowest with: a beginning, what is repeated, and an end.
WORST: dict[str, list[tuple[str, str, str]]] = {
    "cli.events._HASH": [("", "a", "")],
    "cli.output._NOT_MIGRATED": [("", "column ", ""), ("", "Table ", ""), ("column ", "x", " does not")],
    "core.addresses._WITH_PORT": [("[", "1", ""), ("[]:", "1", "x"), ("", "1", ""), ("", ":1", "")],
    "core.export._FORMULA": [
        *(("", " ", ""), ("", ";", "x"), ("", ";\u200b", "x"), (";", "\u200b", "x"), ("", "\t=", "")),
    ],
    "core.fingerprint._OWN_HASH": [("", "a", ",")],
    "core.flatten._ESCAPED": [("", "\\", ""), ("", "\\a", "")],
    "core.flatten._INDEX": [("1", "0", "")],
    "core.flatten._SEGMENT": [("", "a", "."), ("", "\\", ""), ("", "\\a", "")],
    "core.identifiers._COUNTRY_CODE": [("+", "1", "")],
    "core.identifiers._DATE": [("2020-01-01", " ", "\n"), ("", "1", "")],
    "core.identifiers._EMAIL": [
        ("a@", "a.", "-"),
        ("", "a", "@"),
        ("a@", "a", ""),
        ("a@", "a-", "."),
        ("a@", f"{'a' * 61}.", ""),
    ],
    "core.identifiers._PHONE": [
        ("1", " ", "!"),
        ("1", " ", "x"),
        ("1,", " ", ""),
        ("tel:", " ", ""),
        ("1x", "1", ""),
        ("1", "(", "ext"),
    ],
    "core.identifiers._TRUNK_ZERO": [
        ("", "(", ""),
        ("(", " ", ""),
        ("", "( ", ""),
        ("(0", " ", ""),
        ("", "(0", ""),
    ],
    "core.identifiers._UUID": [("urn:uuid:", "a", ""), ("", "a-", "")],
    "core.integration.DAG_ID": [("", "a", "")],
    "core.integration.HEADER": [("", "a", "")],
    "core.integration.NAME": [("", "a", "")],
    "core.matching._HARMLESS": [("", "a", '"')],
    "core.matching._INDEX": [("1", "0", "x")],
    "core.matching._INTEGER": [("-", "1", "x")],
    "core.matching._NUMBER": [("-1", "1", "x"), ("1.", "1", "x"), ("1e", "1", "x")],
    "core.matching._UNRESERVED": [("", "a", "/")],
    "core.parameters._HARMLESS": [
        ("", "event", ""),
        ("", "event-", ""),
        ("", "-event", "-kez"),
        ("", "cert", ""),
    ],
    "core.parameters._HEADER_NAME": [("", "a", "")],
    "core.parameters._NEXT_WORD": [("", "aB", "")],
    "core.parameters._SENSITIVE": [
        ("", "passwauth", ""),
        ("", "api-", ""),
        ("", "-key", "a"),
        ("", "sig", ""),
        ("", "clientcer", ""),
    ],
    "core.payload._ESCAPED_BACKSLASH_OR_PAIR": [("", "\\", ""), ("", "\\ud800", ""), ("", "\\ud800\\ud", "")],
    "core.payload._ESCAPED_NUL_OR_SURROGATE": [("", "\\", ""), ("", "\\u000", ""), ("", "\\u", "")],
    "core.payload._MEDIA_PARAMETER": [
        ("; ", " ", ""),
        (";", "a", ""),
        (";a=", "a", "\n"),
        (';a="', "\\", ""),
        (';a="', "a", ""),
        (";a=a", " ", ";"),
    ],
    "core.payload._MEDIA_TYPE": [
        ("", " ", ""),
        ("application/", "+json", "x"),
        ("application/", "+", ""),
        ("application/json", " ", ";"),
    ],
    "core.payload._UNSTORABLE_CHARACTER": [("", "a", "")],
    "core.redaction._ENDPOINT": [("", "/", ""), ("", "/a", ""), ("", "/" + "a" * 25 + "b", "")],
    "core.redaction._BETWEEN_PAIRS": [("", "&", ""), ("", "a&", ""), ("", "&?# ", "")],
    "core.redaction._SECRET": [
        *(
            ("", "eyJaaaaa", ""),
            ("", "eyJaaaaa.", "!"),
            ("eyJaaaaa", ".", ""),
            ("", "inc_", ""),
            ("", " ", ""),
        ),
        *(
            ("", "inc_aaaaaaaaaaaaaaaa_", ""),
            ("Bearer", " ", ""),
            ("", "Bearer ", ""),
            ("", ".eyJaaaaa.", ""),
        ),
    ],
    "core.redaction._UNSTORABLE": [("", "a", ""), ("", "\0", "")],
    "core.redaction._USER_INFO": [
        ("", "//", ""),
        ("", "//a", ""),
        ("//", "a", ""),
        ("", "//@", ""),
        ("", "//a@", ""),
    ],
    "core.stream._POSITION": [("", "1", ""), ("1-", "1", "")],
    "core.tokens._API_KEY": [("inc_", "a", ""), ("inc_aaaaaaaaaaaaaaaa_", "a", "")],
    "core.tokens._TOKEN": [("", "a", ""), ("", "a.", ""), ("a.a.", "a", "="), ("", ".", "")],
    "core.units._DURATION": [("1", " ", "x"), ("", "1", "")],
    "core.units._RATE": [("1", " ", "x"), ("1/", " ", "x"), ("", "1", "")],
    "core.units._SIZE": [("1", " ", "x"), ("", "1", "")],
    "operators.identity._NOT_IN_RUN_IDS": [("", "/", ""), ("", "/a", "")],
    "operators.runs._INVALID": [("", "Invalid input for param ", ""), ("Invalid input for param ", ":", "")],
    "operators.runs._RULE": [
        ("", "Failed validating '", ""),
        ("", "Failed validating 'a'\n", ""),
        ("Failed validating '", "a", ""),
    ],
    "services.consumers.deletions._run_id": [
        ("", "asset_triggered__", ""),
        ("asset_triggered__2020-01-01T", "1", ""),
    ],
    "services.tally._ENDPOINT_ID": [("", "a", "")],
    "stores.redis_cluster._REDIRECTION": [
        ("MOVED 1 ", ":", ""),
        ("MOVED 1 ", ":1", "x"),
        ("MOVED ", "1", ""),
        ("MOVED 1 h:", "1", "x"),
    ],
    "web.access_log._ENDPOINT_LIKE": [("", "a", ""), ("", "a" * 25 + "-", "")],
    "web.framing._HOST": [
        ("", "a", ""),
        ("", "a.", "."),
        ("[", ":", ""),
        ("[", "1:", "]x"),
        ("", "a-", "\x00"),
        ("a:", "1", ""),
    ],
    "web.paths._CONTROL": [("", "/", "")],
    "web.paths._SLASHES": [("", "/", ""), ("", "/a", ""), ("", "//a", "")],
    "web.views.event_filter._HASH": [("", "a", "")],
    "web.views.tabs._OUR_RUN": [("", "incoming__", ""), ("incoming__a", "_", ""), ("incoming__a", "__0", "")],
}


@cache
def sources() -> dict[str, ast.Module]:
    """Return every module of the package, by its name within it."""
    files = [file for file in PACKAGE.rglob("*.py") if "versions" not in file.parts]
    names = {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in files}
    return {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in names.items()}


def calls_of_re(tree: ast.AST) -> list[ast.Call]:
    """Return all calls of functions of ``re``, which is imported whole and under its name."""
    found = []
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.ImportFrom) and node.module == "re"), "write import re"
        if isinstance(node, ast.Import):
            assert not any(each.name == "re" and each.asname for each in node.names), "write import re"
        called = node.func if isinstance(node, ast.Call) else None
        if (
            isinstance(called, ast.Attribute)
            and isinstance(called.value, ast.Name)
            and called.value.id == "re"
        ):
            assert isinstance(node, ast.Call)
            found.append(node)
    return found


def patterns() -> dict[str, str]:
    """Return all expressions of the package: where each is, and the name that it has there."""
    found = {}
    for module, tree in sources().items():
        named = {
            id(node.value): node.targets[0].id
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for call in calls_of_re(tree):
            name = named.get(id(call))
            assert name is not None, f"{module}, line {call.lineno}: make it a constant, to be tested here"
            found[f"{module}.{name}"] = name
    return found


def uses(pattern: str) -> set[str]:
    """Return the methods of an expression that the package calls."""
    module, _, name = pattern.rpartition(".")
    found = set()
    for where, tree in sources().items():
        imported = {
            each.asname or each.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == f"airflow_incoming.{module}"
            for each in node.names
            if each.name == name
        }
        known = imported | ({name} if where == module else set())
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in known
            ):
                found.add(node.attr)
    return found


def test_every_expression_has_its_worst_texts() -> None:
    """A new one can't be forgotten; one that is gone is not kept here."""
    assert set(patterns()) == set(WORST)


@pytest.mark.parametrize("name", WORST)
def test_an_expression_takes_time_in_proportion_to_its_text(name: str) -> None:
    """With the worst texts that we know, and long runs of each character that it speaks of."""
    module, _, constant = name.rpartition(".")
    pattern: re.Pattern[Any] = getattr(importlib.import_module(f"airflow_incoming.{module}"), constant)
    methods = uses(name)
    assert methods, "nobody uses it"
    runs = [("", character, end) for character in sorted(set(str(pattern.pattern))) for end in ("", "\x01")]
    for text in (*WORST[name], *runs):
        for method in methods:
            check(call(pattern, method), bytes_or_text(pattern, text), (name, method, text))


def call(pattern: re.Pattern[Any], method: str) -> Callable[[Any], object]:
    """Return the call of a method with a text."""
    function = getattr(pattern, method)
    if method in ("sub", "subn"):
        return lambda text: function(text[:0], text)
    return function  # type: ignore[no-any-return]


def bytes_or_text(pattern: re.Pattern[Any], parts: tuple[str, str, str]) -> Callable[[int], Any]:
    """Return what makes a text of a length: its beginning, the repeated middle, its end."""
    first, middle, last = parts

    def make(length: int) -> Any:
        text = first + middle * (length // len(middle)) + last
        return text.encode("latin-1") if isinstance(pattern.pattern, bytes) else text

    return make


def check(function: Callable[[Any], object], make: Callable[[int], Any], what: object) -> None:
    before = float("inf")
    for length in (LONGEST // FACTOR**2, LONGEST // FACTOR, LONGEST):  # what is slow is found before the end
        text = make(length)
        after = seconds(function, text)
        if after > max(NOTHING, MOST * before):  # or was it the machine?
            after = min(after, *(seconds(function, text) for _ in range(4)))
            assert after < max(NOTHING, MOST * before), (what, length, before, after)
        before = after


def seconds(function: Callable[[Any], object], text: Any) -> float:
    """Return the time that a call took."""
    began = time.thread_time()
    function(text)
    return time.thread_time() - began


@pytest.mark.parametrize(("expression", "text"), [(r"\s+$", " "), (r"a.*b", "a")])
def test_the_check_notices(expression: str, text: str) -> None:
    """Expressions that are known to be slow don't pass."""
    pattern = re.compile(expression)
    with pytest.raises(AssertionError):
        check(pattern.search, bytes_or_text(pattern, ("", text, "x")), expression)
