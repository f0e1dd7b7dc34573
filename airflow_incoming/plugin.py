"""The AirflowPlugin: what the api-server loads. Each part is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_incoming.settings import RECEIVER_PREFIXES

#: Where requests to us arrive inside the api-server; the guard leaves everything else alone.
PREFIXES = (*RECEIVER_PREFIXES, "/pluginsv2/incoming-ui")
#: Where the pages are. No slash at the front: a browser resolves it against Airflow's own base path.
PAGES = "pluginsv2/incoming-ui"


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
    from airflow_incoming.bootstrap import guard_limits, note_refused, running_receiver
    from airflow_incoming.web.access_log import RedactedURL
    from airflow_incoming.web.guard import Guard
    from airflow_incoming.web.screen import Screen

    return [
        {
            "middleware": Guard,
            "kwargs": {
                "prefixes": PREFIXES,
                "limits": guard_limits,
                "refused": note_refused,
                "receivers": RECEIVER_PREFIXES,
                "screen": Screen(RECEIVER_PREFIXES, running_receiver),
            },
            "name": "Incoming guard",
        },
        # The last one is in front of the others, and has the very scope that the access log will read.
        {
            "middleware": RedactedURL,
            "kwargs": {"prefixes": RECEIVER_PREFIXES},
            "name": "Incoming URLs in the access log",
        },
    ]


def _has_fab() -> bool:
    # Without the FAB provider Airflow refuses to start when any plugin has a blueprint or view.
    return find_spec("airflow.providers.fab") is not None


def _blueprints() -> list[Any]:
    from airflow_incoming.bootstrap import accept_timeout, api_server_container, settings

    if not _has_fab():
        return []
    from airflow_incoming.web.blueprint import create_blueprint
    from airflow_incoming.web.views.registration import create_static_blueprint

    blueprints = [create_static_blueprint()]
    if settings().flask_blueprint:
        blueprints.append(create_blueprint(api_server_container, accept_timeout=accept_timeout()))
    return blueprints


def _views() -> list[Any]:
    if not _has_fab():
        return []
    from airflow_incoming.bootstrap import page_services
    from airflow_incoming.web.views.registration import create_views

    return [{"view": view} for view in create_views(page_services())]


def _external_views() -> list[Any]:
    if not _has_fab():
        return []
    icons = {
        "icon": f"{PAGES}/static/incoming.svg",
        "icon_dark_mode": f"{PAGES}/static/incoming-dark.svg",
    }
    return [
        {
            "name": "Incoming",
            "href": f"{PAGES}/",
            "url_route": "incoming",
            "destination": "nav",
            "nav_top_level": True,
            **icons,
        },
        {
            "name": "Incoming",
            "href": f"{PAGES}/dag/{{DAG_ID}}",
            "url_route": "incoming-dag",
            "destination": "dag",
            **icons,
        },
        {
            "name": "Incoming",
            "href": f"{PAGES}/dag/{{DAG_ID}}/{{RUN_ID}}",
            "url_route": "incoming-run",
            "destination": "dag_run",
            **icons,
        },
    ]


class IncomingPlugin(AirflowPlugin):
    """Webhooks inside the api-server, and the pages to manage them."""

    name = "incoming"
    fastapi_apps = _MadeOnDemand(_apps)
    fastapi_root_middlewares = _MadeOnDemand(_middlewares)
    flask_blueprints = _MadeOnDemand(_blueprints)
    appbuilder_views = _MadeOnDemand(_views)
    external_views = _MadeOnDemand(_external_views)
