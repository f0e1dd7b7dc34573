"""Does this request prove who sent it?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from airflow_incoming.core.errors import Unauthorized
from airflow_incoming.core.messages import Endpoint
from airflow_incoming.core.tokens import MAX_TOKEN, TokenPolicy, verify

#: Schemes of which the head of a request has the whole proof; that of others is the body's as well.
PROVEN_BY_HEAD = frozenset({"none", "jwt"})


def authenticate(
    endpoint: Endpoint, headers: Mapping[str, str], policy: TokenPolicy, *, now: datetime
) -> None:
    """Return if the request may use the endpoint. Raises Unauthorized.

    A JWT is accepted in one Authorization header only, never in the query or a cookie (RFC 6750).
    """
    if endpoint.configuration.auth.type == "none":
        return
    if endpoint.key is None:
        raise Unauthorized("the integration's API key is revoked or doesn't exist")
    verify(_bearer(headers), endpoint.key, policy, now=now)


def _bearer(headers: Mapping[str, str]) -> str:
    value = headers.get("authorization")
    if value is None:
        raise Unauthorized("there is no Authorization header")
    if len(value) > MAX_TOKEN + 16:
        raise Unauthorized("the Authorization header is too long")
    if "," in value:
        raise Unauthorized("there are several Authorization headers")
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("the Authorization header isn't of the Bearer scheme")
    return token
