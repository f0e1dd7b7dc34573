from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.redaction import passed_on, redact, redact_query, storable_text


def test_credentials_are_never_stored() -> None:
    """Names stay, so that one sees what was sent."""
    assert redact(
        {
            "authorization": "Bearer x",
            "cookie": "a=b",
            "x-hub-signature-256": "sha256=ab",
            "x-api-key": "k",
            "x-request-id": "r",
            "content-type": "application/json",
        }
    ) == {
        "authorization": "[redacted]",
        "cookie": "[redacted]",
        "x-hub-signature-256": "[redacted]",
        "x-api-key": "[redacted]",
        "x-request-id": "r",
        "content-type": "application/json",
    }


@given(st.dictionaries(st.text(), st.text(st.characters())))
def test_redacted_headers_can_be_stored(headers: dict[str, str]) -> None:
    """Whatever a server let through: no U+0000, nothing that isn't UTF-8."""
    for name, value in redact(headers).items():
        assert "\0" not in (name + value)
        (name + value).encode()


def test_headers_are_passed_on_by_name() -> None:
    """Those that are there, in the order that was configured; a credential never."""
    headers = {"x-a": "1", "x-b": "2", "authorization": "Bearer x"}

    assert list(passed_on(headers, ("x-b", "x-c", "x-a", "authorization")).items()) == [
        ("x-b", "2"),
        ("x-a", "1"),
    ]


@pytest.mark.parametrize(
    ("text", "stored"),
    [("a\tb é 😀", "a\tb é 😀"), ("a\0b", "a\ufffdb"), ("\ud800", "\ufffd"), ("", ""), ("a\nb", "a\nb")],
)
def test_storable_text(text: str, stored: str) -> None:
    """Only what no database holds is replaced."""
    assert storable_text(text) == stored


@pytest.mark.parametrize(
    ("query", "stored"),
    [
        ("", ""),
        ("source=a&n=1", "source=a&n=1"),
        ("token=abc", "token=[redacted]"),
        ("a=1&access_token=abc&b=2", "a=1&access_token=[redacted]&b=2"),
        ("API_KEY=abc&%74oken=abc", "API_KEY=[redacted]&%74oken=[redacted]"),
        ("token", "token"),
        ("a=token", "a=token"),
        ("token=a=b", "token=[redacted]"),
        ("a=\x00", "a=\ufffd"),
    ],
)
def test_credentials_in_a_query_are_never_stored(query: str, stored: str) -> None:
    """They open nothing there, but whoever sent one put it there all the same."""
    assert redact_query(query) == stored
