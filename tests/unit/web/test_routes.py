"""What is served under the base path."""

from __future__ import annotations

import pytest

from airflow_incoming.core.errors import (
    BodyTooLarge,
    EndpointNotFound,
    MalformedJSON,
    MethodNotAllowed,
    RequestRejected,
)
from airflow_incoming.web.routes import find_route, parse_api_key


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/abc", ("receive", "abc")),
        ("POST", "/auth", ("receive", "auth")),
        ("POST", "/auth/token", ("token", "")),
        ("POST", "/uauth/v2/auth/login/profile", ("token", "")),
        ("GET", "/health", ("health", "")),
        ("HEAD", "/health", ("health", "")),
        ("POST", "/abc/", ("receive", "abc")),
        ("POST", "/auth/token/", ("token", "")),
        ("GET", "/health/", ("health", "")),
    ],
)
def test_a_known_path_has_one_room(method: str, path: str, route: tuple[str, str]) -> None:
    assert find_route(method, path) == route


@pytest.mark.parametrize("path", ["", "/", "//", "//abc", "/abc//", "/abc/def", "/abc/def/", "/health//"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_other_path_is_not_found(method: str, path: str) -> None:
    with pytest.raises(EndpointNotFound):
        find_route(method, path)


@pytest.mark.parametrize("path", ["/abc", "/auth/token", "/uauth/v2/auth/login/profile"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "PROPFIND", "post"])
def test_only_post_is_allowed_whether_the_endpoint_exists_or_not(method: str, path: str) -> None:
    with pytest.raises(MethodNotAllowed):
        find_route(method, path)


def test_health_is_only_asked() -> None:
    with pytest.raises(MethodNotAllowed, match="Only GET"):
        find_route("POST", "/health")


def test_an_api_key_is_read_and_other_fields_are_ignored() -> None:
    assert parse_api_key(b'{"apiKey": "inc_k1_x", "deviceId": 7}') == "inc_k1_x"
    assert parse_api_key(b'\xef\xbb\xbf{"apiKey": "inc_k1_x"}') == "inc_k1_x"


@pytest.mark.parametrize("body", [b"", b"{", b'{"apiKey": NaN}', b"\xff", b"[" * 4096])
def test_a_token_request_that_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJSON):
        parse_api_key(body)


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'"a"', b'{"apiKey": ""}', b'{"apiKey": 1}', b'{"apikey": "a"}']
)
def test_a_token_request_without_an_api_key_is_rejected(body: bytes) -> None:
    with pytest.raises(RequestRejected, match="apiKey"):
        parse_api_key(body)


def test_a_token_request_has_at_most_4_kib() -> None:
    with pytest.raises(BodyTooLarge):
        parse_api_key(b'{"apiKey": "' + b"a" * 4096 + b'"}')
