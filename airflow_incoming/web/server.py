"""``airflow incoming serve``: the receiver alone, on a port of its own."""

from __future__ import annotations

from typing import Any

from airflow_incoming.web.guard import App, Guard, Receive, Scope, Send

PREFIX = "/incoming"
#: Seconds in which a stopping server finishes the requests that it has.
GRACE = 15


def create_app() -> App:
    """Return the guarded receiver, served below ``/incoming`` as in the api-server."""
    from airflow_incoming.bootstrap import container, guard_limits
    from airflow_incoming.web.asgi import create_receiver_app

    return Guard(_Mounted(create_receiver_app(container)), prefixes=("/",), limits=guard_limits)


def run(host: str, port: int, workers: int) -> None:
    """Serve until stopped; several workers are processes of their own."""
    import uvicorn

    uvicorn.run(
        "airflow_incoming.web.server:create_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )


class _Mounted:
    """Serves an app below the prefix; anything else is an unknown path of the same app."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http":
            below = path == PREFIX or path.startswith(PREFIX + "/")
            # "//" is no path of the receiver, so it is answered as unknown.
            scope = {**scope, "path": path[len(PREFIX) :] if below else "//", "root_path": ""}
        await self._app(scope, receive, send)
