"""What is served under the base path, for both adapters; framework free."""

from __future__ import annotations

import json
from typing import Literal, NoReturn

from airflow_incoming.core.errors import (
    BodyTooLarge,
    EndpointNotFound,
    MalformedJSON,
    MethodNotAllowed,
    RequestRejected,
)

Room = Literal["receive", "token", "health"]

#: The second spelling is Synerise's: their clients only change the base URL.
TOKEN_PATHS = frozenset({"/auth/token", "/uauth/v2/auth/login/profile"})
MAX_TOKEN_BODY = 4096

#: Seconds after which a request that is still undecided is answered 503.
ACCEPT_TIMEOUT = 10.0


class OnlyGetAllowed(MethodNotAllowed):
    """Only GET is allowed here."""

    allow = "GET, HEAD"


def find_route(method: str, path: str) -> tuple[Room, str]:
    """Return which room answers, and the endpoint id where it is ``receive``.

    ``path`` begins with the slash after the base path; one more at its end changes nothing. Raises
    EndpointNotFound or MethodNotAllowed.
    """
    path = path.removesuffix("/")
    if path == "/health":
        if method not in ("GET", "HEAD"):
            raise OnlyGetAllowed()
        return "health", ""
    endpoint_id = path[1:]
    known = path in TOKEN_PATHS
    if not known and (not endpoint_id or "/" in endpoint_id):
        raise EndpointNotFound()
    if method != "POST":
        raise MethodNotAllowed()
    return ("token", "") if known else ("receive", endpoint_id)


def parse_api_key(body: bytes) -> str:
    """Return the API key of ``{"apiKey": "…"}``. Raises RequestRejected.

    Other fields are ignored, as clients of other services send some.
    """
    if len(body) > MAX_TOKEN_BODY:
        raise BodyTooLarge(MAX_TOKEN_BODY)
    try:
        document = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedJSON() from error
    api_key = document.get("apiKey") if isinstance(document, dict) else None
    if not isinstance(api_key, str) or not api_key:
        raise RequestRejected('The request body must be {"apiKey": "..."}.')
    return api_key


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
