"""``airflow incoming serve``: the receiver alone, on a port of its own."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Any

import uvicorn
from starlette._utils import get_route_path  # private, but the only one that knows root_path as Mount does
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_incoming.core.errors import EndpointNotFound
from airflow_incoming.services.journal import FieldsFormatter, Seldom
from airflow_incoming.web.asgi import create_receiver_app, send_response
from airflow_incoming.web.connections import Connections, most_connections
from airflow_incoming.web.guard import Guard
from airflow_incoming.web.paths import is_under
from airflow_incoming.web.protocol import MAX_HEAD, BoundedHeadProtocol
from airflow_incoming.web.responses import from_error
from airflow_incoming.web.screen import Screen

PREFIX = "/incoming"
#: Seconds. Above the 60 for which common load balancers keep idle connections: whoever closes first
#: must be them, or a request may meet a closing connection.
KEEP_ALIVE = 65
#: Seconds that requests in hand have when the server is told to stop.
GRACEFUL_SHUTDOWN = 10

#: Everything to standard error: standard output carries a command's result alone.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"()": FieldsFormatter, "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}
    },
    "filters": {"seldom": {"()": Seldom}},
    "loggers": {
        # Strangers make it write lines: "Invalid HTTP request received.", "Unsupported upgrade request."
        "uvicorn.error": {"filters": ["seldom"], "level": "INFO", "propagate": True},
        "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "airflow_incoming": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}


def create_app() -> ASGIApp:
    """Return the guarded receiver under ``/incoming``; a server process calls this once."""
    from airflow_incoming import bootstrap

    receiver = create_receiver_app(
        bootstrap.container,
        accept_timeout=bootstrap.accept_timeout(),
        start_or_fail=True,
    )
    options = bootstrap.guard_limits()
    BoundedHeadProtocol.allowed = Connections(
        most_connections(), share=options.max_share, trusted=options.trusted_proxies
    )
    # The guard is in front of every path here: no other path has anybody to look after it.
    return Guard(
        _Under(PREFIX, receiver),
        prefixes=("",),
        limits=bootstrap.guard_limits,
        refused=bootstrap.note_refused,
        screen=Screen((PREFIX,), bootstrap.running_receiver),
    )


def run(host: str, port: int, workers: int) -> None:
    """Serve until told to stop."""
    _allow_open_files()
    uvicorn.run(
        "airflow_incoming.web.server:create_app",
        factory=True,
        http=BoundedHeadProtocol,
        host=host,
        port=port,
        workers=workers,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=_logging(),
        access_log=False,
        proxy_headers=False,  # whoever may reach the port could otherwise claim any address
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN,
        h11_max_incomplete_event_size=MAX_HEAD,
    )


def _logging() -> dict[str, Any]:
    """Return how we log: at Airflow's own level."""
    from airflow.configuration import conf

    level = conf.get("logging", "logging_level", fallback="INFO").upper()
    ours = {"airflow_incoming": {**LOGGING["loggers"]["airflow_incoming"], "level": level}}
    return {**LOGGING, "loggers": {**LOGGING["loggers"], **ours}}


def _allow_open_files() -> None:
    """Let as many connections be open as the system allows: its usual 1024 are soon used up by idle ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # where the hard limit is more than the kernel's own
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Under:
    """Serves an application under a path prefix and passes the lifespan on, as Mount doesn't."""

    def __init__(self, prefix: str, app: ASGIApp) -> None:
        self._prefix = prefix
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif is_under(get_route_path(scope), self._prefix):
            root_path = scope.get("root_path", "") + self._prefix
            await self._app({**scope, "root_path": root_path}, receive, send)
        else:
            await send_response(send, from_error(EndpointNotFound()))
