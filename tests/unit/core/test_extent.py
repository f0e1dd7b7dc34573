from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.conf import build_conf, conf_size
from airflow_incoming.core.extent import Extent, conf_bound, guess, measure
from airflow_incoming.core.flatten import flatten
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.payload import parse_json
from tests.unit.core.samples import EVENT_ID, NOW

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
NAMES = st.one_of(TEXT, st.sampled_from(["_incoming", "airflow/x", "a.b", "\\", "\x01", '"', "é", "\x7f"]))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT
)
PAYLOADS = st.recursive(
    st.one_of(st.dictionaries(NAMES, SCALARS, max_size=4), st.lists(SCALARS, max_size=4)),
    lambda inner: st.one_of(
        st.dictionaries(NAMES, st.one_of(inner, SCALARS), max_size=4),
        st.lists(st.one_of(inner, SCALARS), max_size=12),
    ),
    max_leaves=20,
)


@given(PAYLOADS, st.booleans(), st.booleans(), TEXT)
def test_no_conf_is_larger_than_its_bound(payload: Any, ascii_: bool, compact: bool, header: str) -> None:
    """Whatever is in names, values and headers, and however the body was written."""
    separators = (",", ":") if compact else None
    body = json.dumps(payload, ensure_ascii=ascii_, separators=separators).encode()
    read = parse_json(body)
    configuration = Configuration(dags=("one",), headers=("x-source", "x-absent"))
    headers = {"x-source": header}
    extent = measure(read)
    assert extent.parameters == len(flatten(read))
    conf = build_conf(
        body, configuration, event_id=EVENT_ID, integration="i" * 63, received_at=NOW, headers=headers
    )
    assert conf_size(conf) <= conf_bound(extent, body, configuration, headers)
    guessed = guess(body)
    assert guessed.parameters >= extent.parameters
    assert guessed.characters >= extent.characters


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"1e15"] * 500) + b"]",
        b"[" + b",".join([b"-1e-4"] * 500) + b"]",
        b"[" + b",".join([b"-1e+00019"] * 500) + b"]",
        b"{" + b",".join(b'"%d...........":1e15' % number for number in range(200)) + b"}",
        b'{"_incoming":' * 20 + b"{}" + b"}" * 20,
        b'{"' + b"\\\\" * 3000 + b'":[' + b"0," * 99 + b"0]}",
        b'{"' + b"\\u0001" * 3000 + b'":[' + b"0," * 99 + b"0]}",
    ],
    ids=[
        "large numbers",
        "small numbers",
        "numbers as text",
        "dots",
        "reserved names",
        "backslashes",
        "control characters",
    ],
)
def test_what_grows_most_is_within_the_bound(body: bytes) -> None:
    """A conf may be many times as large as its body; the bound knows."""
    configuration = Configuration(dags=("one",))
    payload = parse_json(body)
    conf = build_conf(
        body, configuration, event_id=EVENT_ID, integration="orders", received_at=NOW, headers={}
    )
    assert conf_size(conf) <= conf_bound(measure(payload), body, configuration, {})


def test_an_ordinary_payload_is_far_below_the_limit() -> None:
    """The names of parameters (8 + 17 + 17 characters), and those of what holds them (5 + 5 + 1 + 1)."""
    payload = {"order": {"id": 7, "items": [{"sku": "a"}, {"sku": "b"}]}}
    assert measure(payload) == Extent(parameters=3, characters=54)
