from __future__ import annotations

import copy
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.integration import (
    Auth,
    Configuration,
    Declaration,
    Deduplication,
    Limits,
    configuration_to_dict,
    declaration_to_dict,
    parse_configuration,
    parse_declaration,
    parse_document,
    parse_name,
    read_configuration,
)
from airflow_incoming.core.units import Rate

# The example of the contract.
DOCUMENT: dict[str, Any] = {
    "version": 1,
    "integrations": [
        {
            "name": "orders",
            "title": "Shop orders",
            "icon": "shopping-cart",
            "state": "published",
            "auth": {"type": "jwt", "api_key": "shop"},
            "deduplication": {
                "parameters": ["body.order.id", "header.x-request-id"],
                "window": "7d",
                "duplicate_status": 204,
            },
            "dags": ["process_order"],
            "assets": ["incoming://orders"],
            "headers": ["x-request-id"],
            "limits": {"body": "1MiB", "conf": "256KiB", "rate": "50/s"},
        }
    ],
}
ORDERS = Declaration(
    name="orders",
    state="published",
    configuration=Configuration(
        title="Shop orders",
        icon="shopping-cart",
        auth=Auth(type="jwt", api_key="shop"),
        deduplication=Deduplication(
            parameters=("body.order.id", "header.x-request-id"),
            window=timedelta(days=7),
            duplicate_status=204,
        ),
        dags=("process_order",),
        assets=("incoming://orders",),
        headers=("x-request-id",),
        limits=Limits(body=1048576, conf=262144, rate=Rate(50, 1)),
    ),
)

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
SIZES = st.none() | st.integers(1, 10**12)
CONFIGURATIONS = st.builds(
    Configuration,
    title=st.text(st.characters(categories=["L", "N", "P"]), max_size=20),
    icon=NAMES,
    auth=st.just(Auth()) | st.builds(Auth, type=st.just("jwt"), api_key=NAMES),
    deduplication=st.none()
    | st.builds(
        Deduplication,
        parameters=st.lists(
            st.sampled_from(["body.a", "body.a\\.b", "header.x", "query.q", "body.0", "header.y", "query.Q"]),
            min_size=1,
            max_size=5,
            unique=True,
        ).map(tuple),
        window=st.integers(1, 366 * 86400).map(lambda seconds: timedelta(seconds=seconds)),
        duplicate_status=st.sampled_from([200, 204]),
    ),
    dags=st.lists(NAMES, unique=True, max_size=3).map(tuple),
    assets=st.lists(NAMES.map("incoming://{}".format), unique=True, max_size=3).map(tuple),
    headers=st.lists(
        NAMES.map("x-{}".format).filter(lambda name: len(name) < 6), unique=True, max_size=3
    ).map(tuple),
    limits=st.builds(
        Limits,
        body=SIZES,
        conf=SIZES,
        rate=st.none() | st.builds(Rate, st.integers(1, 10**6), st.sampled_from([1, 60, 3600])),
    ),
)


def test_the_example_of_the_contract() -> None:
    """It says what it seems to say."""
    assert parse_document(DOCUMENT) == (ORDERS,)
    assert declaration_to_dict(ORDERS) == DOCUMENT["integrations"][0]


@given(NAMES, st.sampled_from(["published", "draft", "suspended"]), CONFIGURATIONS)
def test_what_is_exported_can_be_applied(name: str, state: Any, configuration: Configuration) -> None:
    """The round trip through YAML's or JSON's types loses nothing."""
    declaration = Declaration(name=name, state=state, configuration=configuration)

    assert parse_declaration(json.loads(json.dumps(declaration_to_dict(declaration)))) == declaration
    assert parse_configuration(configuration_to_dict(configuration)) == configuration


def test_a_name_is_enough() -> None:
    """A draft that starts nothing, without authentication, limits or deduplication."""
    assert parse_declaration({"name": "x"}) == Declaration(
        name="x",
        state="draft",
        configuration=Configuration(
            title="",
            icon="webhook",
            auth=Auth(type="none"),
            deduplication=None,
            dags=(),
            assets=(),
            headers=(),
        ),
    )
    assert parse_document({"version": 1, "integrations": []}) == ()


def test_null_is_the_same_as_nothing() -> None:
    """YAML writes it where a value was left out."""
    nulls = dict.fromkeys(
        ("title", "icon", "state", "auth", "deduplication", "dags", "assets", "headers", "limits")
    )

    assert parse_declaration({"name": "x"} | nulls) == parse_declaration({"name": "x"})


def test_headers_have_one_spelling() -> None:
    """Lower case, in lists and in parameters."""
    configuration = parse_configuration(
        {"headers": ["X-Request-Id"], "deduplication": {"parameters": ["header.X-Request-Id"]}}
    )

    assert configuration.headers == ("x-request-id",)
    assert configuration.deduplication == Deduplication(parameters=("header.x-request-id",))
    assert configuration.deduplication.window == timedelta(days=7)


DELETE = object()


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ((), [], "must be a mapping"),
        ((), None, "must be a mapping"),
        (("version",), DELETE, "is missing"),
        (("version",), 2, "must be 1"),
        (("version",), "1", "must be 1"),
        (("version",), True, "must be 1"),
        (("integrations",), DELETE, "is missing"),
        (("integrations",), {}, "must be a list"),
        (("integrations",), "orders", "must be a list"),
        (("integration",), [], "is not known here"),
        (("integrations", 0), "orders", "must be a mapping"),
        (("integrations", 0, "name"), DELETE, "is missing"),
        (("integrations", 0, "name"), None, "is missing"),
        (("integrations", 0, "name"), "", "1 to 63"),
        (("integrations", 0, "name"), "Orders", "1 to 63"),
        (("integrations", 0, "name"), "-orders", "1 to 63"),
        (("integrations", 0, "name"), "or.ders", "1 to 63"),
        (("integrations", 0, "name"), "x" * 64, "1 to 63"),
        (("integrations", 0, "name"), "orders\n", "1 to 63"),
        (("integrations", 0, "name"), 7, "1 to 63"),
        (("integrations", 0, "titel"), "x", "is not known here; known are name, state, title"),
        (("integrations", 0, "title"), "x" * 257, "at most 256"),
        (("integrations", 0, "title"), "a\0b", "printable"),
        (("integrations", 0, "title"), 7, "printable"),
        (("integrations", 0, "icon"), "../x", "name of an icon"),
        (("integrations", 0, "icon"), 7, "name of an icon"),
        (("integrations", 0, "state"), "live", "one of published, draft, suspended"),
        (("integrations", 0, "auth"), "jwt", "must be a mapping"),
        (("integrations", 0, "auth", "type"), DELETE, "is missing"),
        (("integrations", 0, "auth", "type"), "basic", "one of none, jwt"),
        (("integrations", 0, "auth", "api_key"), DELETE, "is missing"),
        (("integrations", 0, "auth", "api_key"), "A key", "1 to 63"),
        (("integrations", 0, "auth", "secret"), "x", "is not known here; known are type, api_key"),
        (("integrations", 0, "deduplication"), ["body.id"], "must be a mapping"),
        (("integrations", 0, "deduplication", "parameters"), DELETE, "is missing"),
        (("integrations", 0, "deduplication", "parameters"), [], "is missing"),
        (("integrations", 0, "deduplication", "parameters"), "body.id", "must be a list"),
        (("integrations", 0, "deduplication", "parameters"), [f"body.{i}" for i in range(6)], "at most 5"),
        (("integrations", 0, "deduplication", "parameters", 0), "order.id", "must begin with body."),
        (("integrations", 0, "deduplication", "parameters", 1), "body.order.id", "there twice"),
        (("integrations", 0, "deduplication", "window"), "7", "7d"),
        (("integrations", 0, "deduplication", "window"), 604800, "7d"),
        (("integrations", 0, "deduplication", "duplicate_status"), 409, "204 or 200"),
        (("integrations", 0, "deduplication", "duplicate_status"), 204.0, "204 or 200"),
        (("integrations", 0, "deduplication", "duplicate_status"), "204", "204 or 200"),
        (("integrations", 0, "deduplication", "key"), "x", "is not known here"),
        (("integrations", 0, "dags"), "process_order", "must be a list"),
        (("integrations", 0, "dags", 0), "process order", "must be a DAG id"),
        (("integrations", 0, "dags", 0), "", "must be a DAG id"),
        (("integrations", 0, "dags", 0), "x" * 251, "must be a DAG id"),
        (("integrations", 0, "dags", 0), 7, "must be a DAG id"),
        (("integrations", 0, "assets", 0), "", "URI or name of an asset"),
        (("integrations", 0, "assets", 0), "incoming://ąę", "URI or name of an asset"),
        (("integrations", 0, "assets", 0), "x" * 1501, "URI or name of an asset"),
        (("integrations", 0, "assets", 0), {"uri": "x"}, "URI or name of an asset"),
        (("integrations", 0, "headers", 0), "x request", "name of a header"),
        (("integrations", 0, "headers", 0), 7, "name of a header"),
        (("integrations", 0, "headers", 0), "Authorization", "never passed on"),
        (("integrations", 0, "headers", 0), "Cookie", "never passed on"),
        (("integrations", 0, "headers", 0), "X-Hub-Signature-256", "never passed on"),
        (("integrations", 0, "limits"), "1MiB", "must be a mapping"),
        (("integrations", 0, "limits", "body"), "1 megabyte", "256KiB"),
        (("integrations", 0, "limits", "conf"), 0, "256KiB"),
        (("integrations", 0, "limits", "rate"), "50", "50/s"),
        (("integrations", 0, "limits", "bodies"), 1, "is not known here; known are body, conf, rate"),
    ],
)
def test_every_mistake_is_led_to(path: tuple[str | int, ...], value: object, problem: str) -> None:
    """The path leads to the field, the problem says what to write instead."""
    with pytest.raises(InvalidConfiguration) as mistake:
        parse_document(changed(path, value))
    assert mistake.value.path == path
    assert problem in mistake.value.problem


def changed(path: tuple[str | int, ...], value: object) -> object:
    """Return the document with one field changed, added or deleted."""
    if not path:
        return value
    document: Any = copy.deepcopy(DOCUMENT)
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    if value is DELETE:
        del parent[path[-1]]
    elif isinstance(parent, list):
        index = int(path[-1])
        parent[index : index + 1] = [value]
    else:
        parent[path[-1]] = value
    return document


def test_an_open_integration_has_no_key() -> None:
    """Somebody who names a key means to be protected."""
    with pytest.raises(InvalidConfiguration, match="remove it") as mistake:
        parse_document(changed(("integrations", 0, "auth", "type"), "none"))
    assert mistake.value.path == ("integrations", 0, "auth", "api_key")


@pytest.mark.parametrize(
    ("field", "items"),
    [
        ("dags", ["a", "b", "a"]),
        ("assets", ["incoming://a", "incoming://b", "incoming://a"]),
        ("headers", ["x-a", "x-b", "X-A"]),
    ],
)
def test_nothing_is_listed_twice(field: str, items: list[str]) -> None:
    """The second mention is the mistake, however it is spelled."""
    with pytest.raises(InvalidConfiguration, match="there twice") as mistake:
        parse_document(changed(("integrations", 0, field), items))
    assert mistake.value.path == ("integrations", 0, field, 2)


def test_names_are_unique_in_a_document() -> None:
    """A name is an integration's identity in files."""
    document = {"version": 1, "integrations": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}
    with pytest.raises(InvalidConfiguration) as mistake:
        parse_document(document)
    assert mistake.value.path == ("integrations", 2, "name")
    assert mistake.value.detail == "integrations[2].name: 'a' is declared twice; names are unique"


def test_a_configuration_has_neither_name_nor_state() -> None:
    """Those aren't versioned."""
    for field in ("name", "state"):
        with pytest.raises(InvalidConfiguration) as mistake:
            parse_configuration({field: "draft"}, ("configuration",))
        assert mistake.value.path == ("configuration", field)


@given(NAMES)
def test_names(name: str) -> None:
    """1 to 63 of a-z, 0-9, _ and -, a letter or digit first."""
    assert parse_name(name) == name


def test_what_was_stored_under_a_laxer_rule_goes_on() -> None:
    """A header that is taken for a credential by now is left out; a declaration that names it is refused."""
    stored = configuration_to_dict(Configuration(dags=("one",), headers=("x-sig", "x-request-id")))
    with pytest.raises(InvalidConfiguration, match="x-sig carries a credential"):
        parse_configuration(stored)
    assert read_configuration(stored) == Configuration(dags=("one",), headers=("x-request-id",))
