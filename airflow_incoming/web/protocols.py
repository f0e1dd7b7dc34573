"""Which class of protocol uvicorn reads requests with; ours are read whole (see :mod:`web.heads`)."""

from __future__ import annotations

import asyncio
import logging
from importlib.util import find_spec

import uvicorn
from starlette.types import Receive

log = logging.getLogger(__name__)


def reading_whole(protocol: type[asyncio.Protocol], prefixes: tuple[str, ...]) -> type[asyncio.Protocol]:
    """Return the class, made to read requests below ``prefixes`` whole where it wouldn't.

    Only httptools' wouldn't: h11 takes no trailer for a header, and ignores an upgrade.
    """
    if find_spec("httptools") is None:
        return protocol
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from airflow_incoming.web.heads import WholeHead

    if not issubclass(protocol, HttpToolsProtocol) or issubclass(protocol, WholeHead):
        return protocol
    known = {"prefixes": tuple(prefix.encode() for prefix in prefixes)}
    return type(f"Whole{protocol.__name__}", (WholeHead, protocol), known)


def read_whole(receive: Receive, prefixes: tuple[str, ...]) -> None:
    """Let the server whose lifespan this is read requests below ``prefixes`` whole.

    Inside an api-server the server is Airflow's. It has no setting for this, and once a request is with
    an application it is too late; so its connections, none of which is open yet, get a class derived from
    its own, which leaves every other path to that.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if isinstance(config, uvicorn.Config) and isinstance(config.http_protocol_class, type):
        config.http_protocol_class = reading_whole(config.http_protocol_class, prefixes)
    else:
        log.warning(
            "This server isn't uvicorn as Airflow starts it; it may take trailers of a request for headers."
        )
