from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.redaction import passed_on, redact, storable_text


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
