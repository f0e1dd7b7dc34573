"""The AirflowPlugin: what the api-server loads. Each part is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from airflow.plugins_manager import AirflowPlugin

#: Where requests to us arrive inside the api-server; the guard leaves everything else alone.
PREFIXES = ("/incoming", "/pluginsv2/incoming")


class _MadeOnDemand:
    """A class attribute that is made when it is first read, so that importing the plugin is cheap."""

    def __init__(self, make: Callable[[], list[Any]]) -> None:
        self._make = make
        self._made: list[Any] | None = None

    def __get__(self, instance: object, owner: type) -> list[Any]:
        if self._made is None:
            self._made = self._make()
        return self._made


def _apps() -> list[Any]:
    from airflow_incoming.bootstrap import accept_timeout, api_server_container
    from airflow_incoming.web.asgi import create_receiver_app

    return [
        {
            "app": create_receiver_app(api_server_container, accept_timeout=accept_timeout()),
            "url_prefix": "/incoming",
            "name": "Incoming webhooks",
        }
    ]


def _middlewares() -> list[Any]:
    from airflow_incoming.bootstrap import guard_limits
    from airflow_incoming.web.guard import Guard

    return [
        {
            "middleware": Guard,
            "kwargs": {"prefixes": PREFIXES, "limits": guard_limits},
            "name": "Incoming guard",
        }
    ]


def _blueprints() -> list[Any]:
    from airflow_incoming.bootstrap import accept_timeout, api_server_container, settings

    # Without the FAB provider Airflow refuses to start when any plugin has a blueprint.
    if find_spec("airflow.providers.fab") is None or not settings().flask_blueprint:
        return []
    from airflow_incoming.web.blueprint import create_blueprint

    return [create_blueprint(api_server_container, accept_timeout=accept_timeout())]


class IncomingPlugin(AirflowPlugin):
    """Webhooks inside the api-server."""

    name = "incoming"
    fastapi_apps = _MadeOnDemand(_apps)
    fastapi_root_middlewares = _MadeOnDemand(_middlewares)
    flask_blueprints = _MadeOnDemand(_blueprints)
