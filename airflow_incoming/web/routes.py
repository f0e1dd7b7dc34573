"""What every adapter does with a request, between its framework's request and response."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from airflow_incoming.core.errors import EndpointNotFound, MalformedJSON, MethodNotAllowed
from airflow_incoming.core.messages import Request
from airflow_incoming.core.payload import check_media_type, parse_json

Route = Literal["receive", "token", "health"]

#: The second path is that of another product's login, so that its clients only change their base URL.
TOKEN_PATHS = ("auth/token", "uauth/v2/auth/login/profile")
HEALTH_PATH = "health"


def find_route(method: str, path: str) -> Route:
    """Return what a method and a path below our prefix ask for.

    Raises EndpointNotFound, MethodNotAllowed.
    """
    path = path.strip("/")
    if path == HEALTH_PATH and method in ("GET", "HEAD"):
        return "health"
    if method != "POST":
        raise MethodNotAllowed()
    if path in TOKEN_PATHS:
        return "token"
    if "/" in path or not path:
        raise EndpointNotFound()
    return "receive"


def read_api_key(request: Request) -> str:
    """Return the API key of ``{"apiKey": "…"}``. Raises MalformedJSON, UnsupportedMediaType."""
    check_media_type(request.headers)
    value = parse_json(request.body)
    api_key = value.get("apiKey") if isinstance(value, dict) else None
    if not isinstance(api_key, str):
        raise MalformedJSON('The body must be {"apiKey": "…"}.')
    return api_key


def join_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by lower-cased name; the values of a repeated one joined by ", " (RFC 9110, 5.3)."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
