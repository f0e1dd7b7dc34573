"""Every page there is, and how Airflow gets them."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import flask
from flask.blueprints import BlueprintSetupState
from flask_appbuilder import BaseView

from airflow_incoming.web.views.home import permission_views
from airflow_incoming.web.views.page import HERE, ROOT
from airflow_incoming.web.views.services import Services
from airflow_incoming.web.views.sessions import SessionsOfPages

# WHILE BUILDING: a page that can't be imported is left out; the lead makes this strict at the end.
_NAMES = {
    "home": "HomePage",
    "integrations": "IntegrationPages",
    "editor": "EditorPages",
    "icons": "IconFiles",
    "events": "EventPages",
    "requests": "RequestPages",
    "keys": "KeyPages",
    "tabs": "DagTabs",
}


def create_views(services: Services) -> list[BaseView]:
    """Return the views for Flask-AppBuilder."""
    pages = []
    for module, name in _NAMES.items():
        try:
            pages.append(getattr(import_module(f"airflow_incoming.web.views.{module}"), name)(services))
        except Exception:
            logging.getLogger(__name__).exception("Left out %s", name)
    return [*pages, *permission_views()]


def create_static_blueprint() -> flask.Blueprint:
    """Return what serves our style sheet and scripts, and keeps our sessions apart from the login's."""
    blueprint = flask.Blueprint(
        "incoming_static",
        __name__,
        url_prefix=ROOT,
        static_folder=str(HERE / "static"),
        static_url_path="/static",
    )
    blueprint.record_once(_keep_sessions_apart)
    return blueprint


def _keep_sessions_apart(state: BlueprintSetupState) -> None:
    app: Any = state.app  # its type says only what blueprints need
    app.session_interface = SessionsOfPages(app.session_interface, ROOT)
