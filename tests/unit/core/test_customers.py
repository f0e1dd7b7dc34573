"""Customers are found among the parameters of a payload, and spelled one way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.customers import (
    Customer,
    CustomerRules,
    Unidentified,
    identify_customer,
)


def test_identifiers_and_attributes_come_apart() -> None:
    """Attributes keep their names and types; what is about the event is no attribute."""
    conf = {
        "customer.id": 7,
        "customer.email": "Zoe@Example.com",
        "order.total": 49.9,
        "order.paid": True,
        "note": None,
        "tags": [],
        "_incoming.event_id": "01890000-0000-7000-8000-000000000001",
        "_incoming.headers.x-request-id": "r1",
    }
    customer = identify_customer(conf, identifiers={"custom_id": "customer.id", "email": "customer.email"})
    assert customer is not None
    assert customer.to_dict() == {
        "identified_by": "custom_id",
        "identifiers": {"custom_id": "7", "email": "zoe@example.com"},
        "attributes": {"order.total": 49.9, "order.paid": True, "note": None, "tags": []},
    }


def test_nested_data_is_flattened() -> None:
    """A nested payload gives the same customer as its conf."""
    customer = identify_customer(
        {"customer": {"email": "zoe@example.com"}, "lines": [{"sku": "a.b"}]},
        identifiers={"email": "customer.email"},
    )
    assert customer is not None
    assert customer.attributes == {"lines.0.sku": "a.b"}


def test_preferred_kind_comes_first() -> None:
    """The order of kinds is the order of preference, whatever the order of the record."""
    rules = CustomerRules({"phone": "phone", "email": "email"})
    found = rules.identify({"email": "zoe@example.com", "phone": "+48600123456"})
    assert isinstance(found, Customer)
    assert (found.identified_by, list(found.identifiers)) == ("phone", ["phone", "email"])


def test_first_usable_parameter_of_a_kind() -> None:
    """A value that can't be used is said and stays an attribute; the next parameter is tried."""
    rules = CustomerRules({"email": ["work", "home", "other"]})
    found = rules.identify({"work": "n/a", "home": "zoe@example.com", "other": "z@example.com"})
    assert isinstance(found, Customer)
    assert found.identifiers == {"email": "zoe@example.com"}
    assert found.attributes == {"work": "n/a", "other": "z@example.com"}
    assert found.unusable == {"work": "is no usable email"}


def test_star_stands_for_one_segment() -> None:
    """Answers of a form come in any order: the first e-mail address among them is taken."""
    rules = CustomerRules({"email": "answers.*.email"})
    found = rules.identify(
        {"answers": [{"text": "hi"}, {"email": "a@example.com"}, {"email": "b@example.com"}]}
    )
    assert isinstance(found, Customer)
    assert found.identifiers == {"email": "a@example.com"}
    assert isinstance(rules.identify({"answers.0.more.email": "a@example.com"}), Unidentified)


def test_nobody() -> None:
    """Without an identifier there is no customer, and the reason shows no values."""
    assert identify_customer({"total": 7}) is None
    rules = CustomerRules({"email": "mail", "custom_id": "id"})
    absent, wrong = rules.identify({"total": 7}), rules.identify({"mail": "secret", "id": ""})
    assert isinstance(absent, Unidentified)
    assert absent.reason == "none of these parameters is present: mail, id"
    assert isinstance(wrong, Unidentified)
    assert wrong.reason == "mail is no usable email; id is no usable custom_id"


def test_full_names() -> None:
    """``body.`` and ``header.`` are the names that deduplication and filters have, too."""
    record = {"customer": {"email": "zoe@example.com"}, "_incoming": {"headers": {"x-customer": "forged"}}}
    rules = CustomerRules({"custom_id": "header.X-Customer", "email": "body.customer.email"})
    known, unknown = rules.identify(record, headers={"x-customer": "C-7"}), rules.identify(record)
    assert isinstance(known, Customer)
    assert known.identifiers == {"custom_id": "C-7", "email": "zoe@example.com"}
    assert isinstance(unknown, Customer)
    assert unknown.identifiers == {"email": "zoe@example.com"}
    forged = {"_incoming.headers.x-customer": "forged"}
    assert identify_customer(forged, identifiers={"custom_id": "header.x-customer"}) is None
    bad = rules.identify({}, headers={"x-customer": " "})
    assert isinstance(bad, Unidentified)
    assert bad.reason == "header.x-customer is no usable custom_id"


def test_many_records() -> None:
    """Each record gives what it gives alone; what is no object spoils no others."""
    one, nobody, two, wrong = CustomerRules().identify_all(
        [{"email": "a@example.com"}, {}, {"custom_id": 3}, 7]
    )
    assert isinstance(one, Customer)
    assert isinstance(two, Customer)
    assert (one.identifiers, two.identifiers) == ({"email": "a@example.com"}, {"custom_id": "3"})
    assert isinstance(nobody, Unidentified)
    assert wrong == Unidentified(reason="is no object, but int")


@pytest.mark.parametrize(
    ("identifiers", "country_code", "said"),
    [
        ({"mail": "mail"}, None, "'mail' is no kind of identifier; there are email, custom_id, phone, uuid"),
        ({"email": []}, None, "email must name a parameter"),
        ({"email": ""}, None, "email must name a parameter"),
        ({"email": 7}, None, "email must name a parameter"),
        (
            {"email": "query.email"},
            None,
            "email: query.email: an event doesn't carry its query string. Write body.query",
        ),
        ({"email": "header.x y"}, None, "email: 'x y' is not the name of a header"),
        ({}, None, "must be a mapping"),
        (["email"], None, "must be a mapping"),
        ({"phone": "phone"}, "PL", 'must be a calling code such as "48"'),
        ({"phone": "phone"}, "999", 'must be a calling code such as "48"'),
        ({"phone": "phone"}, "0048", 'must be a calling code such as "48"'),
    ],
)
def test_mistakes(identifiers: Any, country_code: Any, said: str) -> None:
    """A mistake in the rules is told before any record is looked at."""
    with pytest.raises(ValueError, match=said):
        CustomerRules(identifiers, default_country_code=country_code)


@given(
    st.dictionaries(
        st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=30), max_size=6
    )
)
def test_nothing_is_lost(record: dict[str, Any]) -> None:
    """Every parameter of a flat record ends as an identifier or as an attribute."""
    record = {name: value for name, value in record.items() if not name.startswith("_incoming.")}
    found = CustomerRules().identify({**record, "email": "zoe@example.com"})
    assert isinstance(found, Customer)
    assert len(found.attributes) + len(found.identifiers) == len({**record, "email": ""})
