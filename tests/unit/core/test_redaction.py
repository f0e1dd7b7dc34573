from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core import redaction
from airflow_incoming.core.redaction import (
    LOOKED_AT,
    cut_query,
    endpoint_in,
    first_redacted,
    passed_on,
    storable_text,
)

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
API_KEY = "inc_" + "a" * 16 + "_" + "B" * 43
OWN, OTHER = "mfrggzdfmztwq2lkmfrggzdfmy", "onswg4tforxxi2dfojswc3dmpe"

redact = partial(redaction.redact, endpoint_id=OWN)
redact_query = partial(redaction.redact_query, endpoint_id=OWN)


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
    "name", ["x-original-uri", "x-original-url", "x-rewrite-url", "x-forwarded-uri", "referer", "link"]
)
@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("/incoming/x?token=abc&n=1", "/incoming/x?token=[redacted]&n=1"),
        ("https://h/x?n=1&sig=abc", "https://h/x?n=1&sig=[redacted]"),
        ("https://h/x?%74oken=abc#access_token=d", "https://h/x?%74oken=[redacted]#access_token=[redacted]"),
        ("https://user:word@h/x", "https://[redacted]@h/x"),
        ("https://h/x?next=%2Fy%3Fjwt%3Dabc", "https://h/x?next=[redacted]"),
        ("https://h/x?n=1&source=a", "https://h/x?n=1&source=a"),
        ('<https://h/x?token=abc>; rel="next"', '<https://h/x?token=[redacted]>; rel="next"'),
    ],
)
def test_credentials_in_a_url_are_never_stored(name: str, value: str, stored: str) -> None:
    """Whichever header carries the URL: proxies write the original one into a header of theirs."""
    assert redact({name: value, "x-request-id": "r"}) == {name: stored, "x-request-id": "r"}


@pytest.mark.parametrize(
    "value",
    [JWT, f"a {JWT} b", API_KEY, "Bearer abc", "bearer abc", "eyJhbGciOiJkaXIifQ..a.b.c", f"k={API_KEY}"],
)
def test_what_looks_like_a_credential_is_never_stored(value: str) -> None:
    """Whatever its header is called."""
    assert redact({"x-note": value}) == {"x-note": "[redacted]"}


@pytest.mark.parametrize(
    "value", ["eyJ", "a.b.c", "inc_x", "I am a bearer of news", "what? a=b", "a@b.c", "x=1"]
)
def test_what_only_begins_like_one_is_kept(value: str) -> None:
    """A dot, a question mark or an address is no secret."""
    assert redact({"x-note": value}) == {"x-note": value}


@pytest.mark.parametrize(
    "value",
    [
        *("?" + "a" * 100_000, "eyJ" * 30_000, "eyJaaaaa." * 10_000, "//a" * 30_000, "inc_" * 25_000),
        *("?a=" + "%25" * 30_000 + "3Fa=b", "?a=%3Fa=%" + "25" * 400 + "3F" * 20_000),
        "Bearer" + " " * 100_000,
    ],
)
def test_redacting_takes_no_time(value: str) -> None:
    """Whatever a stranger writes: it is looked through a few times, not a few times for each character."""
    began = time.perf_counter()
    redact({"x-note": value})
    redact_query(value)
    assert time.perf_counter() - began < 1


#: Pairs that each take a look, decoding, a name that wasn't seen, a URL, a user, an id that is none.
PAIRS = (
    *("a=%252&", "a=%25&", "a=%3Fb&", "%61b=c&", "k{}=%25{}&", "a=%3Fb=%25{}&", "a=%40//{}&", "a=//b@c&"),
    *("a=%3Fb=%3Fc={}&", "a=" + "%6d" * 26 + "&"),
)
SECRETS = f"a=%3Fb=c%2F%2F%40eyJ&/{OWN[:5]}%6{OWN}&"


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("first", ["", SECRETS])
def test_each_pair_takes_little(pair: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: a long text is decoded as a whole, and few values by themselves more than once."""
    count = 0

    def counted(function: Callable[[str], str]) -> Callable[[str], str]:
        def call(text: str) -> str:
            nonlocal count
            count += 1
            return function(text)

        return call

    for name in ("unquote", "unquote_plus"):
        monkeypatch.setattr(redaction, name, counted(getattr(redaction, name)))
    text = (first + "".join(pair.format(number, number) for number in range(LOOKED_AT)))[:LOOKED_AT]
    redact_query(text)
    assert count <= text.count("&") + 6 * redaction._NESTED


def test_of_very_many_urls_the_last_are_replaced() -> None:
    """Nobody looks into them: each takes long."""
    query = redact_query("&".join(["a=%3Fb=1"] * 100))
    assert query.split("&") == ["a=%3Fb=1"] * 64 + ["a=[redacted]"] * 36


def test_it_is_known_which_parameters_were_redacted() -> None:
    """A hash of them can't be computed again."""
    headers = redact({"x-sig": "a", "referer": "/x?token=a", "x-id": "a"})
    query = redact_query("token=a&n=1")
    names = ("body.a", "query.n", "header.x-id", "query.token", "header.referer", "header.x-sig")
    assert first_redacted(names, headers, query) == "query.token"
    assert first_redacted(names[4:], headers, query) == "header.referer"
    assert first_redacted(names[5:], headers, query) == "header.x-sig"
    assert first_redacted(names[:3], headers, query) is None


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
        ("jwt=a&sig=b&n=1", "jwt=[redacted]&sig=[redacted]&n=1"),
        ("pwd=a&pass=b&code=c", "pwd=[redacted]&pass=[redacted]&code=[redacted]"),
        (f"a={JWT}&b={API_KEY}&c=1", "a=[redacted]&b=[redacted]&c=1"),
        (JWT, "[redacted]"),
        ("next=https%3A%2F%2Fx%2F%3Ftoken%3Dabc&n=1", "next=[redacted]&n=1"),
        ("next=https://x/?token=abc&n=1", "next=https://x/?token=[redacted]&n=1"),
        ("a=1;token=abc", "a=1;token=[redacted]"),
        ("a=%3Fb%3D1", "a=%3Fb%3D1"),
        ("a=&b", "a=&b"),
        ("idempotencyKey=7", "idempotencyKey=7"),
    ],
)
def test_credentials_in_a_query_are_never_stored(query: str, stored: str) -> None:
    """They open nothing there, but whoever sent one put it there all the same."""
    assert redact_query(query) == stored


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (f"/incoming/{OWN}", "/incoming/[redacted]"),
        (f"https://h/incoming/{OWN}/?n=1", "https://h/incoming/[redacted]/?n=1"),
        (f"https://h/pluginsv2/incoming/{OTHER}", "https://h/pluginsv2/incoming/[redacted]"),
        (f"id={OWN}; n=1", "id=[redacted]; n=1"),
        (f"x{OWN}x", "x[redacted]x"),
        (f"/incoming/%6d{OWN[1:]}", "[redacted]"),
        (f"next=%2Fincoming%2F{OTHER}&n=1", "next=[redacted]&n=1"),
        (f"next=%252Fincoming%252F{OTHER}", "next=[redacted]"),
        (f"id={OTHER}", f"id={OTHER}"),
        ("/orders/01jd5w3zq5x9k2m7n8p4r6t0vb", "/orders/01jd5w3zq5x9k2m7n8p4r6t0vb"),
        ("n=100%25&m=%zz", "n=100%25&m=%zz"),
    ],
)
def test_an_endpoint_is_never_named(text: str, stored: str) -> None:
    """Who may read events need not know the URL; that of an open integration is enough to send to it."""
    assert redact({"x-original-uri": text}) == {"x-original-uri": stored}
    assert redact_query(text) == stored


def test_what_looks_like_an_endpoint_in_a_path() -> None:
    """Base32 of 128 bits ends with one of eight letters; a ULID has digits that base32 hasn't."""
    assert endpoint_in(f"/incoming/{OWN}") == OWN
    assert endpoint_in(f"/incoming/{OWN[:-1]}b") is None
    assert endpoint_in("/incoming/auth/token") is None


def test_a_long_query_is_cut_between_pairs() -> None:
    """Half a credential wouldn't be known for one; and what is long isn't looked through first."""
    assert cut_query("a=1&b=2") == "a=1&b=2"
    first = "a=" + "x" * (LOOKED_AT - 30)
    assert cut_query(f"{first}&k={API_KEY}") == first
    assert cut_query("a=1;" * LOOKED_AT) == ("a=1;" * LOOKED_AT)[: LOOKED_AT - 1]
    assert cut_query("x" * (LOOKED_AT + 1)) == "x" * LOOKED_AT
