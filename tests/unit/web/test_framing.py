"""One head for everybody: what is made of it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_incoming.core.errors import HeadersTooLarge
from airflow_incoming.web.framing import Head, InvalidHTTP, read_head, text_of

HOST = (b"host", b"x")


def read(*headers: tuple[bytes, bytes], version: str = "1.1", **limits: int) -> Head:
    bounds = {"max_headers": 100, "max_header_bytes": 16384, "max_body": 1000} | limits
    return read_head({"method": "POST", "headers": list(headers), "http_version": version}, **bounds)


def test_an_ordinary_head_stays_the_very_list() -> None:
    """It costs nothing: no copy is made."""
    headers = [HOST, (b"content-length", b"2"), (b"x-a", b"b c")]
    scope = {"method": "POST", "headers": headers, "http_version": "1.1"}
    head = read_head(scope, max_headers=9, max_header_bytes=99, max_body=9)
    assert head.headers is headers
    assert head[1:] == (2, True, False)


def test_the_list_of_a_chunked_request_is_detached() -> None:
    """A server may go on filling its own."""
    headers = [HOST, (b"transfer-encoding", b"Chunked")]
    scope = {"method": "POST", "headers": headers, "http_version": "1.1"}
    head = read_head(scope, max_headers=9, max_header_bytes=99, max_body=9)
    headers.append((b"authorization", b"Bearer x"))
    assert head.headers == [HOST, (b"transfer-encoding", b"Chunked")]
    assert head[1:] == (None, False, False)


def test_the_limit_counts_names_and_values_alone() -> None:
    exact = [(b"abc", b"defg"), (b"hi", b"j")]
    assert read(*exact, version="2", max_header_bytes=10).headers == exact
    with pytest.raises(HeadersTooLarge):
        read(*exact, version="2", max_header_bytes=9)
    assert read(version="2", max_header_bytes=0).headers == []


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [HOST, HOST],
        [(b"host", b"a"), (b"host", b"b")],
        [(b"host", b"a b")],
        [(b"_host", b"x")],
        [HOST, (b"transfer-encoding", b"gzip, chunked")],
        [HOST, (b"transfer-encoding", b"chunked, chunked")],
        [HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [HOST, (b"transfer-encoding", b"identity")],
        [HOST, (b"transfer-encoding", b"")],
        [HOST, (b"transfer-encoding", b"\x0bchunked")],
        [HOST, (b"transfer-encoding", b"chunked"), (b"content-length", b"2")],
        [HOST, (b"content-length", b"2"), (b"content-length", b"3")],
        [HOST, (b"content-length", b"2, 3")],
        [HOST, (b"content-length", b"+2")],
        [HOST, (b"content-length", b"2 2")],
        [HOST, (b"content-length", b"\xb2")],
        [HOST, (b"content-length", b"")],
    ],
)
def test_a_head_that_can_be_understood_in_two_ways_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """RFC 9112, 3.2, 6.1 and 6.3."""
    with pytest.raises(InvalidHTTP):
        read(*headers)


@pytest.mark.parametrize(
    "host",
    [
        b"a,b",
        b"a, b",
        b"a b",
        b"a\tb",
        b"a/b",
        b"u@h",
        b"[",
        b"[::1",
        b"[x]",
        b"[]",
        b"h:x",
        b"h:1:2",
        b"a]",
        b"a..b",
        b".x",
        b".",
        b"a" * 64,
        b"x." + b"a" * 64,
        b"a#b",
        b"a?b",
        b"a\\b",
        b"<a>",
        b"%00",
        b"h:999999",
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0", "2"])
def test_what_is_no_host_is_refused(host: bytes, version: str) -> None:
    """RFC 9110, 7.2; labels are as long as in RFC 1035, 2.3.4."""
    with pytest.raises(InvalidHTTP):
        read((b"host", host), version=version)


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"a.b",
        b"a.b.",
        b"A-b.c:80",
        b"a_b:8080",
        b"10.0.0.1:1",
        b"[::1]",
        b"[fe80::1]:8080",
        b"h:",
        b"",
        b"a" * 63 + b".x",
        "żółć.pl".encode(),
        b"xn--a",
    ],
)
def test_hosts_as_they_are_pass(host: bytes) -> None:
    """Names with an underscore are no host names, but those of containers often are."""
    assert read((b"host", host)).headers == [(b"host", host)]


def test_an_upgrade_is_not_handed_on() -> None:
    """Whoever is behind might take it for a websocket."""
    head = read(HOST, (b"upgrade", b"websocket"), (b"connection", b"upgrade"))
    assert head.headers == [HOST, (b"connection", b"upgrade")]


def test_http_1_0_has_no_transfer_encoding_and_may_have_no_host() -> None:
    """RFC 9112, 6.1."""
    assert read((b"content-length", b"2"), version="1.0").length == 2
    with pytest.raises(InvalidHTTP):
        read(HOST, (b"transfer-encoding", b"chunked"), version="1.0")


@pytest.mark.parametrize(
    "lengths", [[b"2", b"2"], [b"2, 2"], [b"02"], [b" 2\t"]], ids=["twice", "a list", "a zero", "white space"]
)
def test_one_length_is_one_however_it_is_said(lengths: list[bytes]) -> None:
    assert read(HOST, *((b"content-length", length) for length in lengths)).length == 2


def test_with_an_upgrade_a_connection_ends() -> None:
    assert read(HOST, (b"upgrade", b"h2c")).last
    assert read(HOST, (b"upgrade", b"h2c"), (b"content-length", b"2")).last
    assert not read(HOST, (b"connection", b"upgrade")).last


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "3.0", ""])
def test_no_other_version_is_understood(version: str) -> None:
    """A parser that lets "HTTP/2.0" pass as a line of text speaks no HTTP/2."""
    with pytest.raises(InvalidHTTP):
        read(HOST, version=version)


@pytest.mark.parametrize(
    ("value", "text"), [(b"a", "a"), ("é€".encode(), "é€"), (b"\xe9", "é"), (b"\xed\xa0\x80", "\xed\xa0\x80")]
)
def test_a_value_is_the_text_that_it_is(value: bytes, text: Any) -> None:
    """No lone surrogate comes of it, whatever is sent."""
    assert text_of(value) == text
