"""Which class of protocol uvicorn reads requests with; ours are read whole (see :mod:`web.heads`)."""

from __future__ import annotations

import asyncio
import logging
from importlib.util import find_spec

import uvicorn
from starlette.types import Receive
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_incoming.web.connections import Connections, FirstHead, warn_of_few_files
from airflow_incoming.web.handshakes import NoHandshake

log = logging.getLogger(__name__)


def reading_whole(
    protocol: type[asyncio.Protocol],
    prefixes: tuple[str, ...],
    mounted_at: str = "",
    silent: Connections | None = None,
) -> type[asyncio.Protocol]:
    """Return the class, made to read requests below ``prefixes`` whole where it wouldn't.

    ``silent`` bounds its connections that say nothing.

    httptools' takes trailers for headers, and bodies behind an upgrade for requests. h11's doesn't, but hands
    a request to upgrade to a websocket over to the protocol of those, if one is installed.
    """
    mixin = _mixin_for(protocol)
    if mixin is None or issubclass(protocol, mixin):
        return protocol
    known = {"prefixes": prefixes, "mounted_at": mounted_at, "silent": silent}
    bases = (mixin, protocol) if silent is None else (FirstHead, mixin, protocol)
    return type(f"Whole{protocol.__name__}", bases, known)


def _mixin_for(protocol: type[asyncio.Protocol]) -> type[asyncio.Protocol] | None:
    if issubclass(protocol, H11Protocol):
        return NoHandshake
    if find_spec("httptools") is not None:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        from airflow_incoming.web.heads import WholeHead

        if issubclass(protocol, HttpToolsProtocol):
            return WholeHead
    return None


def read_whole(
    receive: Receive, prefixes: tuple[str, ...], mounted_at: str = "", silent: Connections | None = None
) -> None:
    """Let the server whose lifespan this is read requests below ``prefixes`` whole.

    Inside an api-server the server is Airflow's. It has no setting for this, and once a request is with
    an application it is too late; so its connections, none of which is open yet, get a class derived from
    its own, which leaves every other path to that, but for upgrades that it wouldn't do, and for connections
    that say nothing.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if isinstance(config, uvicorn.Config) and isinstance(config.http_protocol_class, type):
        own = config.http_protocol_class
        config.http_protocol_class = reading_whole(own, prefixes, mounted_at, silent)
        if issubclass(config.http_protocol_class, FirstHead):
            warn_of_few_files()
    else:
        log.warning(
            "This server isn't uvicorn as Airflow starts it; it may take trailers of a request for headers."
        )
