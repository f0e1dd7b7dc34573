"""Every page there is, and how Airflow gets them."""

from __future__ import annotations

from typing import Any

import flask
from flask.blueprints import BlueprintSetupState
from flask_appbuilder import BaseView

from airflow_incoming.web.views.editor import EditorPages
from airflow_incoming.web.views.events import EventPages
from airflow_incoming.web.views.home import HomePage, permission_views
from airflow_incoming.web.views.icons import IconFiles
from airflow_incoming.web.views.integrations import IntegrationPages
from airflow_incoming.web.views.keys import KeyPages
from airflow_incoming.web.views.page import HERE, ROOT, Page, protect, say_no_in_our_way
from airflow_incoming.web.views.requests import RequestPages
from airflow_incoming.web.views.services import Services
from airflow_incoming.web.views.sessions import SessionsOfPages
from airflow_incoming.web.views.tabs import DagTabs

#: Every page there is; a test walks all their routes for every role.
PAGES: tuple[type[Page], ...] = (
    HomePage,
    IntegrationPages,
    EditorPages,
    IconFiles,
    EventPages,
    RequestPages,
    KeyPages,
    DagTabs,
)


def create_views(services: Services) -> list[BaseView]:
    """Return the views for Flask-AppBuilder."""
    return [*(page(services) for page in PAGES), *permission_views()]


def create_static_blueprint() -> flask.Blueprint:
    """Return what serves our style sheet and scripts, and what holds for everything below ROOT."""
    blueprint = flask.Blueprint(
        "incoming_static",
        __name__,
        url_prefix=ROOT,
        static_folder=str(HERE / "static"),
        static_url_path="/static",
    )
    say_no_in_our_way(blueprint)
    blueprint.after_app_request(protect)
    blueprint.record_once(_keep_sessions_apart)
    return blueprint


def _keep_sessions_apart(state: BlueprintSetupState) -> None:
    app: Any = state.app  # its type says only what blueprints need
    app.session_interface = SessionsOfPages(app.session_interface, ROOT)
