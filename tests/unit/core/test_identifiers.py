"""An identifier has one spelling, however it was typed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.identifiers import (
    normalize_custom_id,
    normalize_email,
    normalize_phone,
    normalize_uuid,
)

UUID_TEXT = "9b2f0c1e-7d2a-4f5e-8a61-0c7d5a1b2c3d"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("zoe@example.com", "zoe@example.com"),
        ("  Zoe.Smith+News@Example.COM\n", "zoe.smith+news@example.com"),
        ("zoë@bücher.example", "zoë@bücher.example"),
        ("zoe@xn--bcher-kva.example", "zoe@bücher.example"),
        ("zoe@xn--strae-oqa.de", "zoe@straße.de"),
        ("zoe@пример.рф", "zoe@пример.рф"),
        ("zoe@XN--E1AFMKFD.XN--P1AI", "zoe@пример.рф"),
        ("zoe@xn--example-.com", None),
        ("zoe@xn--99999999.com", "zoe@xn--99999999.com"),
        ("a@b.co.uk", "a@b.co.uk"),
        ("o'hara@example.com", "o'hara@example.com"),
        ("", None),
        ("zoe", None),
        ("zoe@", None),
        ("@example.com", None),
        ("zoe@localhost", None),
        ("zoe@example.c", None),
        ("zoe@-example.com", None),
        ("zoe@example..com", None),
        (".zoe@example.com", None),
        ("zoe..s@example.com", None),
        ("zoe@exa mple.com", None),
        ("zoe@a@example.com", None),
        ("Zoe <zoe@example.com>", None),
        ("zoe@example.com,max@example.com", None),
        (f"{'a' * 65}@example.com", None),
        (7, None),
        (None, None),
        (True, None),
    ],
)
def test_email(written: object, expected: str | None) -> None:
    """An e-mail address is trimmed and in lower case, or it isn't one."""
    assert normalize_email(written) == expected


@pytest.mark.parametrize(
    ("written", "country_code", "expected"),
    [
        ("+48 600 123 456", None, "+48600123456"),
        ("+48 (0)600-123-456", None, "+48600123456"),
        ("0048600123456", "1", "+48600123456"),
        ("48600123456", "48", "+48600123456"),
        ("+1 (415) 555-2671", None, "+14155552671"),
        ("(415) 555.2671", "1", "+14155552671"),
        ("1 415 555 2671", "1", "+14155552671"),
        ("0171 1234567", "49", "+491711234567"),
        ("06 6982 1234", "39", "+390669821234"),
        ("+39 (0)6 6982 1234", None, "+390669821234"),
        ("8 (495) 123-45-67", "7", "+74951234567"),
        ("+44 ( 0 ) 2079460958", None, "+442079460958"),
        ("+44(0)2079460958", None, "+442079460958"),
        ("tel:+48600123456", None, "+48600123456"),
        ("600\u2011123\u2011456", "48", "+48600123456"),
        ("\u202a+48600123456\u202c", None, "+48600123456"),
        ("٦٠٠١٢٣٤٥٦", "48", "+48600123456"),
        (600123456, "48", "+48600123456"),
        ("600 123 456 ext. 7", "48", "+48600123456;ext=7"),
        ("+48600123456;ext=7", None, "+48600123456;ext=7"),
        ("600 123 456", None, None),
        ("48600123456", None, None),
        ("123", "48", None),
        ("123456", None, None),
        ("+1234567890123456", None, None),
        ("+0 600 123 456", None, None),
        ("2026-03-01", "49", None),
        ("2026-03-01 12:00", "49", None),
        ("12.10.2026", "49", None),
        ("call me", "48", None),
        ("call 600 123 456", "48", None),
        ("6+00123456", "48", None),
        ("6" + " " * 1_000_000, "48", None),
        ("", "48", None),
        (True, "48", None),
        (6.0, "48", None),
        (None, "48", None),
    ],
)
def test_phone(written: object, country_code: str | None, expected: str | None) -> None:
    """A phone number is read as its country dials it, and written one way; a date is none."""
    assert normalize_phone(written, country_code=country_code) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (UUID_TEXT, UUID_TEXT),
        (f" {{{UUID_TEXT.upper()}}} ", UUID_TEXT),
        (UUID_TEXT.replace("-", ""), UUID_TEXT),
        (f"urn:uuid:{UUID_TEXT}", UUID_TEXT),
        (UUID(UUID_TEXT), UUID_TEXT),
        ("00000000-0000-0000-0000-000000000000", None),
        ("9b2f0c1e7d2a-4f5e-8a61-0c7d5a1b2c3d", None),
        ("9b2f", None),
        ("", None),
        (7, None),
    ],
)
def test_uuid(written: object, expected: str | None) -> None:
    """A UUID has one spelling; the nil UUID is nobody's."""
    assert normalize_uuid(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (" C-7 ", "C-7"),
        (7, "7"),
        (0, "0"),
        ("Zoë", "Zoë"),
        ("Zoe\u0308", "Zo\u00eb"),
        ("", None),
        ("  ", None),
        ("a\nb", None),
        ("x" * 257, None),
        (True, None),
        (7.5, None),
        (None, None),
        ({}, None),
    ],
)
def test_custom_id(written: object, expected: str | None) -> None:
    """An identifier of one's own is trimmed text that keeps its case."""
    assert normalize_custom_id(written) == expected


@given(st.text() | st.integers() | st.none())
def test_normalizing_twice_changes_nothing(value: Any) -> None:
    """What was normalised is its own normal form."""
    for normalize in (normalize_email, normalize_phone, normalize_uuid, normalize_custom_id):
        once = normalize(value)
        assert once is None or normalize(once) == once
