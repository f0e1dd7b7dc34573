"""Every kind of JSON value, in each way that an event takes through Airflow, to a task that has it.

What one part of Airflow can't carry would end a process that all DAGs share, so these have to be the same
processes afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk._shared.serialization import FORBIDDEN_XCOM_KEYS

from airflow_incoming.core.flatten import flatten
from airflow_incoming.core.payload import parse_portable
from tests.integration.authors.conftest import Author
from tests.integration.authors.test_waiting import deferred, until

#: Ways in which an event reaches tasks by itself; "xcom": and once more, as what a task returns.
WAYS = ("conf", "conf-xcom", "callback", "values_by_asset", "values_by_watcher")

NUMBERS = [
    *(str(2**bits + step) for bits in (31, 32, 53, 63, 64, 65, 127, 128) for step in (-1, 0, 1)),
    *(str(-(2**bits) + step) for bits in (31, 53, 63, 64, 65) for step in (-1, 0, 1)),
    *("0", "-0", "0.0", "-0.0", "1.0", "0.1", "5e-324", "-5e-324", "1e-400", "2.2250738585072014e-308"),
    *("1e15", "1e16", "1e17", "1e18", "1e19", "-1e18", "-1e19", "1e20", "-1e20", "6.02214076e23"),
    *(
        "1.7976931348623157e308",
        "-1.7976931348623157E+308",
        "18446744073709551615.5",
        "1.8446744073709552e19",
    ),
    *("1.844674407370955e19", "-9.223372036854775e18", "-9.223372036854776e18", "0.00000001e30"),
    *("9" * 100, f"-{'9' * 4299}", f"{'1' * 300}.5"),
]
TEXTS = [
    *("", " ", "None", "null", "true", "NaN", "Infinity", "-1", "1e400", "18446744073709551616", "0x10"),
    *(
        "\x01\x1f\x7f\x80\x9f",
        "\ufffe\uffff\ufffd",
        "\u2028\u2029\u0085",
        "\ufeff",
        "\u202e\u200f",
        "a\u0301",
    ),
    *("𝒳🏳️‍🌈\U0010ffff", "ÿ" * 300, "\t\r\n", "\\u0000", "\\ud800", "'; DROP TABLE dag_run; --"),
    *(
        "{{ 7 * 7 }}",
        "{% raw %}",
        "${HOME}",
        "$(id)",
        "<script>alert(1)</script>",
        "%s%n%(x)s",
        "{0}",
        "a/../b",
    ),
]
NAMES = [
    *(
        "",
        ".",
        "..",
        "\\",
        "\\.",
        "a.b",
        "a\\b",
        '"',
        "'",
        " ",
        "\n",
        "\x7f",
        "é",
        "𝒳",
        "0",
        "-1",
        "[0]",
        "*",
    ),
    *(
        "_incoming",
        "_incoming.event_id",
        "_incoming.headers.x-case",
        "airflow/x",
        "airflow/",
        "conf",
        "params",
    ),
    *("__proto__", "__class__", "__dict__", "__typename", "$ref", "from_trigger", "payload", "event", "self"),
    *("type", "kind", "uri", "dag_run", "%s", "{{ x }}", "k" * 300),
    *sorted(FORBIDDEN_XCOM_KEYS),
]
DEEP = '{"k":' * 62 + '{"end": 18446744073709551616}' + "}" * 62
CASES: dict[str, str] = {
    "numbers": f"[{', '.join(NUMBERS)}]",
    "texts": f'{{"escaped": {json.dumps(TEXTS)}, "raw": {json.dumps(TEXTS, ensure_ascii=False)}}}',
    "names": json.dumps({name: {"nested": name} if len(name) % 2 else name for name in [*NAMES, *NUMBERS]}),
    # What Airflow marks objects by, and what watchers bring; a conf is neither.
    "marks": '{"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, 2], "__var": {},'
    ' "__type": "airflow.models.connection.Connection", "from_trigger": true, "payload": {}}',
    "nothing": "[]",
    "deep": f'{{"arrays": {"[" * 63 + "]" * 63}, "objects": {DEEP}}}',
    "many": json.dumps({f"key-{n}": n for n in range(9_990)}),
    "long": json.dumps({"n" * 1_000_000: "ą\n" * 500_000}, ensure_ascii=False),
    "kinds": '\ufeff \n\t{"a" : 18446744073709551616, "a": [null , true, false, 0, "", {}, [[null]]] }\r\n ',
}
#: What is refused at the door, because a database or Airflow could not keep it as it is.
REFUSED = {
    "nul": ('{"a": "\\u0000"}', 422),
    "surrogate": ('{"a": "\\ud800"}', 422),
    "surrogate-in-name": ('{"\\udfff": 1}', 422),
    "infinite": ('{"a": 1e400}', 422),
    "too-long-an-integer": (f'{{"a": {"9" * 4301}}}', 422),
    "too-deep": ("[" * 65 + "]" * 65, 400),
    "too-many": (json.dumps(dict.fromkeys(map(str, range(10_001)))), 422),
    "too-large": (json.dumps({"a": "x" * (4 * 2**20)}), 413),
    "not-a-number": ('{"a": NaN}', 400),
}


#: Values that templates are made of, by DAG: of text, and of native objects.
FOUND: dict[str, tuple[Any, ...]] = {
    "values_find_text": (True, None, "None", 1.5),
    "values_find_native": (True, None, "+48100200300", "1_000", "1e5", "None", 7),
}
#: What is about the event, in every conf.
ABOUT = ("_incoming.event_id", "_incoming.integration", "_incoming.received_at")


def expected(case: str) -> dict[str, Any]:
    """Return what a task gets; the unit tests show that this is right."""
    return {**flatten(parse_portable(CASES[case].encode())), "_incoming.headers.x-case": case}


def same(got: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Compare by value and type; but PostgreSQL gives whole floats back as integers, and knows no -0.0."""
    got = {name: value for name, value in got.items() if name not in ABOUT}
    return got.keys() == wanted.keys() and all(_is_same(got[name], wanted[name]) for name in wanted)


def _is_same(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, float):
        return type(got) in (int, float) and float(got) == wanted
    return type(got) is type(wanted) and bool(got == wanted)


class Values:
    """The cases as they were posted, and what came of them."""

    def __init__(self, author: Author) -> None:
        self.author = author
        self.waiting = {case: self.start("values_wait", case=case) for case in CASES}
        deferred(author, "values_wait", *self.waiting.values())
        self.events = {case: self.post(body, case) for case, body in CASES.items()}

    def start(self, dag_id: str, **conf: Any) -> str:
        """Start a run of a DAG by a webhook: Airflow's own API blocks itself on SQLite when it is busy."""
        return f"incoming__{dag_id}__{self.author.post(dag_id, conf)}"

    def post(self, body: str, case: str, status: int = 200) -> str:
        response = self.author.house.post("values", body.encode(), headers={"X-Case": case})
        assert response.status_code == status, (case, response.text[:300])
        return str(response.json().get("event_id"))

    def check(self, way: str, case: str, event_id: str) -> None:
        """Wait until a task has written what it got in some way, and look at it."""
        file = Path(self.author.house.airflow.home) / "values" / way / f"{event_id}.json"
        until(file.exists, f"{case} to come by {way}", seconds=240)
        got = json.loads(file.read_text())
        assert way == "callback" or same(got, expected(case)), (way, case, str(got)[:2000])


@pytest.fixture(scope="module")
def values(author: Author) -> Iterator[Values]:
    pids = {name: process.pid for name, process in author.components.items()}
    yield Values(author)
    for name, process in author.components.items():
        assert process.alive, name
        assert process.pid == pids[name]
        assert "OverflowError" not in (author.house.airflow.home / f"{name}.log").read_text(), name


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS)
def test_every_value_reaches_a_task(values: Values, way: str) -> None:
    """As conf of a run, as asset event of a target, through a watcher; and the DAG processor's callbacks."""
    for case, event_id in values.events.items():
        values.check(way, case, event_id)


@pytest.mark.timeout(900)
def test_every_value_can_be_waited_for(values: Values) -> None:
    """By a task that was deferred before it came, and by one that looks back."""
    author = values.author
    for case, run_id in values.waiting.items():
        assert author.await_run("values_wait", run_id, seconds=240) == "success", case
        values.check("waited", case, values.events[case])
    late = {case: values.start("values_wait", case=case) for case in CASES}
    for case, run_id in late.items():
        assert author.await_run("values_wait", run_id, seconds=240) == "success", case
        assert same(author.result("values_wait", run_id, "wait"), expected(case)), case


@pytest.mark.timeout(900)
def test_every_value_can_be_sent_on(values: Values, tmp_path: Path) -> None:
    """By the operator, to a task of the DAG that it triggers."""
    author, sent = values.author, {}
    for case, body in CASES.items():
        (tmp_path / f"{case}.json").write_text(body)
        sent[case] = values.start("values_send", case=case, path=str(tmp_path / f"{case}.json"))
    numbers = values.start("values_send_numbers")
    for case, run_id in sent.items():
        assert author.await_run("values_send", run_id, seconds=240) == "success", case
        values.check("sent", case, author.result("values_send", run_id)["event_id"])
    assert author.await_run("values_send_numbers", numbers) == "success"
    triggered = author.result("values_send_numbers", numbers)["run_id"]
    assert author.await_run("values_sent", triggered) == "success"
    conf = author.confs("values_sent")[triggered]
    assert (conf["n"], conf["m.0"]) == ("18446744073709551616", "1e+20")


@pytest.mark.timeout(900)
def test_a_template_finds_the_value_that_it_was_made_of(values: Values) -> None:
    """However it is rendered: the event that is there is found, and not waited for in vain."""
    author, events, runs = values.author, {}, {}
    events["values_find_number", ""] = values.post(f'{{"find": {2**64}}}', "find")
    for dag_id, value in ((dag_id, value) for dag_id, found in FOUND.items() for value in found):
        like = f"{dag_id} {value!r}"
        events[dag_id, like] = values.post(json.dumps({"like": like, "value": value}), "find")
        until(lambda: set(events.values()) <= set(author.published("values")), "events to be published")
        runs[dag_id, like] = values.start(dag_id, like=like, value=value)
    runs["values_find_number", ""] = values.start("values_find_number")
    for (dag_id, like), run_id in runs.items():
        assert author.await_run(dag_id, run_id, seconds=240) == "success", (dag_id, like)
        found = author.result(dag_id, run_id, "wait")
        assert found["_incoming.event_id"] == events[dag_id, like], (dag_id, like)


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_kept_is_refused(values: Values, case: str) -> None:
    """By the sender's fault, and by name."""
    body, status = REFUSED[case]
    values.post(body, case, status)
