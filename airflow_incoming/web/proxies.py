"""The sender's address of a request that came through proxies."""

from __future__ import annotations

from starlette.types import Scope

from airflow_incoming.core.addresses import Networks, client_address


def with_client(scope: Scope, trusted: Networks) -> Scope:
    """Return the scope with the address of whoever sent the request to the proxies in front of us."""
    peer = (scope.get("client") or (None,))[0]
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    address = client_address(peer, forwarded, trusted)
    return scope if address == peer else {**scope, "client": (address, 0)}
