"""Files of integrations: what they declare, and the line of every mistake."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml

from airflow_incoming.cli.files import Files
from airflow_incoming.core.errors import InvalidConfiguration

ORDERS = """\
version: 1
integrations:
  - name: orders
    title: Shop orders
    state: published
    auth: {type: jwt, api_key: shop}
    deduplication:
      parameters:
        - body.order.id
        - header.x-request-id
    dags: [process_order]
    limits:
      body: 1MiB
"""
INVOICES = "version: 1\nintegrations:\n  - name: invoices\n    dags: [book]\n"


@pytest.fixture(autouse=True)
def _beside_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def refusal(text: str) -> str:
    with pytest.raises(InvalidConfiguration) as refused:
        Files([write("orders.yaml", text)])
    return str(refused.value)


def test_a_file_declares_its_integrations_in_order() -> None:
    """Declarations keep the order of the files, and in each file that of its list."""
    files = Files([write("a.yaml", ORDERS), write("b.yaml", INVOICES)])
    assert [declaration.name for declaration in files.declarations] == ["orders", "invoices"]


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "-" reads standard input, which is also what a mistake is said to be in."""
    monkeypatch.setattr("sys.stdin", io.StringIO(INVOICES))
    assert [declaration.name for declaration in Files(["-"]).declarations] == ["invoices"]
    monkeypatch.setattr("sys.stdin", io.StringIO("version: 2\n"))
    with pytest.raises(InvalidConfiguration, match="standard input:1: version: must be 1"):
        Files(["-"])


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("version: 1", "version: 2", "1: version: must be 1,"),
        ("version: 1", "# none", "2: version: is missing;"),
        ("name: orders", "name: Shop Orders", "3: integrations[0].name: must be 1 to 63"),
        ("title: Shop orders", "titel: Shop orders", "4: integrations[0].titel: is not known here;"),
        ("state: published", "state: live", "5: integrations[0].state: must be one of"),
        (
            "type: jwt",
            "type: jtw",
            "6: integrations[0].auth.type: must be one of none, jwt, not 'jtw'",
        ),
        # A field that isn't there has the line of what it is missing from.
        (", api_key: shop", "", "6: integrations[0].auth.api_key: is missing;"),
        ("name: orders", "icon: cart", "3: integrations[0].name: is missing"),
        ("body.order.id", "order", "9: integrations[0].deduplication.parameters[0]: "),
        ("header.x-request-id", "body.order.id", "10: integrations[0].deduplication.parameters[1]: "),
        ("[process_order]", "process_order", "11: integrations[0].dags: must be a list"),
        ("[process_order]", "[a, 'b c']", "11: integrations[0].dags[1]: must be a DAG id"),
        ("body: 1MiB", "body: huge", "13: integrations[0].limits.body: must be a size"),
        ("body: 1MiB", "body: 1MiB\n      body: 2MiB", "14: 'body' is there twice"),
        ("    state: published", "    title: again", "5: 'title' is there twice"),
    ],
)
def test_a_mistake_is_told_with_its_file_line_and_field(right: str, wrong: str, told: str) -> None:
    """The sentence begins with file and line, as editors know them, and names the field."""
    assert right in ORDERS
    assert refusal(ORDERS.replace(right, wrong)).startswith(f"orders.yaml:{told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1: is empty;"),
        ("# nothing\n", "1: is empty;"),
        ("hello\n", "1: must be a mapping"),
        ("version: 1\nintegrations: orders\n", "2: integrations: must be a list"),
        ("version: 1\nintegrations:\n  - name: a\n  -\n", "4: integrations[1]: must be a mapping"),
        ("version: 1\nintegrations:\n\t- name: a\n", "3: isn't YAML: found character"),
        ("version: 1\nintegrations: [\n", "3: isn't YAML:"),
        ("version: 1\n---\nversion: 1\n", "2: isn't YAML:"),
        ('version: 1\n\ntitle: "a\x01b"\n', "3: isn't YAML: special characters are not allowed"),
        ("version: 1\nintegrations: !!python/object/apply:os.getcwd []\n", "2: isn't YAML: could not"),
        ("version: 1\nintegrations: &all [*all]\n", "2: integrations[0]: must be a mapping"),
        ("version: 1\nintegrations:\n  - &one\n    x: *one\n", "3: integrations[0].name: is missing"),
        ("[" * 1200, "1: is nested too deeply"),
    ],
)
def test_what_is_no_file_of_integrations_is_refused_in_one_sentence(text: str, told: str) -> None:
    """Broken, odd and hostile YAML is refused with a line and without a traceback; no tag runs code."""
    told_us = refusal(text)
    assert told_us.startswith(f"orders.yaml:{told}")
    assert "\n" not in told_us


def test_a_value_that_looks_like_a_date_is_the_text_that_was_written() -> None:
    """No field is a date, so that even 30 February is a title."""
    text = ORDERS.replace("Shop orders", "2026-02-30")
    assert Files([write("a.yaml", text)]).declarations[0].configuration.title == "2026-02-30"


def test_what_an_anchor_shares_may_be_overridden() -> None:
    """A merged key isn't a repeated one, and a mistake in an override has the override's line."""
    text = "version: 1\nintegrations:\n  - &a {name: a, dags: [x]}\n  - {<<: *a, name: b}\n"
    assert [one.configuration.dags for one in Files([write("a.yaml", text)]).declarations] == [("x",), ("x",)]
    assert refusal(text.replace("name: b", "\n     name: B")).startswith("orders.yaml:5: ")


def test_a_name_that_two_files_declare_is_refused() -> None:
    """The second one is told, in the second file, since both can't be meant."""
    a, b = write("a.yaml", ORDERS), write("b.yaml", "\n" + ORDERS)
    with pytest.raises(
        InvalidConfiguration, match=r"^b\.yaml:4: integrations\[0\]\.name: 'orders' is declared"
    ):
        Files([a, b])


def test_a_file_that_cannot_be_read_is_named() -> None:
    """Absent files, folders and other encodings are told by name."""
    Path("latin.yaml").write_bytes(b"title: caf\xe9")
    for name, problem in [("absent.yaml", "No such file"), (".", "Is a dir"), ("latin.yaml", "UTF-8")]:
        with pytest.raises(InvalidConfiguration, match=f"^{name}.*{problem}"):
            Files([name])


@pytest.mark.parametrize(
    ("index", "field", "told"),
    [
        (0, ("auth", "api_key"), "a.yaml:6: integrations[0].auth.api_key: no"),
        (1, ("limits", "body"), "b.yaml:3: integrations[0].limits.body: no"),
    ],
)
def test_what_is_found_wrong_later_is_told_in_its_own_file(
    index: int, field: tuple[str, ...], told: str
) -> None:
    """The manager counts the integrations of all files; people look for them in one."""
    empty = write("empty.yaml", "version: 1\nintegrations: []\n")
    files = Files([write("a.yaml", ORDERS), empty, write("b.yaml", INVOICES)])
    assert str(files.locate(InvalidConfiguration(("integrations", index, *field), "no"))) == told


def test_an_example_is_what_yaml_says_it_is() -> None:
    """The sample above is plain YAML, so that the lines told here are those that an editor shows."""
    assert yaml.safe_load(ORDERS)["integrations"][0]["limits"] == {"body": "1MiB"}
