"""The base of every page: who may see it, what it is made of, and how it says no.

Default deny: a view that doesn't declare with :func:`needs` what it takes is refused, and so is
everybody whom Airflow's auth manager doesn't grant all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import flask
from flask.typing import ResponseReturnValue
from flask_appbuilder import BaseView
from flask_appbuilder import expose as fab_expose
from werkzeug.exceptions import HTTPException, default_exceptions
from werkzeug.wrappers import Response

from airflow_incoming.core.errors import IncomingError
from airflow_incoming.web.access import TOKEN_COOKIE, Permission, Visitor, visitor_of
from airflow_incoming.web.responses import status_of
from airflow_incoming.web.views.csrf import is_of_another, is_of_nobody
from airflow_incoming.web.views.problems import Problem, problem_of, unexpected
from airflow_incoming.web.views.services import Services
from airflow_incoming.web.views.templating import context_of_pages

log = logging.getLogger(__name__)
V = TypeVar("V", bound=Callable[..., Any])

HERE = Path(__file__).parent
#: Where the pages live, below Airflow's /pluginsv2.
ROOT = "/incoming-ui"
#: No script but ours, nothing from elsewhere, and no frame but Airflow's own.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def expose(url: str, methods: tuple[str, ...] = ("GET",)) -> Callable[[V], V]:
    """Serve a view at ``url`` below its class's route: FAB's own decorator, typed."""
    decorate: Callable[[V], V] = fab_expose(url, methods)
    return decorate


def needs(*permissions: Permission) -> Callable[[V], V]:
    """Declare what a view takes: all of the permissions. Goes below ``@expose``."""

    def declare(view: V) -> V:
        view._needs = permissions  # type: ignore[attr-defined]  # as FAB's own decorators do
        return view

    return declare


class Page(BaseView):  # type: ignore[misc]  # FAB is not typed
    """Base of the views. The class's name is its endpoint: ``url_for("EventPages.list")``."""

    template_folder = str(HERE / "templates")
    # FAB would make a permission of every class. Ours are fewer, see home.permission_views().
    class_permission_name = Permission.READ_INTEGRATIONS.resource
    base_permissions = ("can_read", "can_edit")

    def __init__(self, services: Services) -> None:
        self.services = services
        super().__init__()

    def create_blueprint(self, *args: Any, **options: Any) -> flask.Blueprint:
        """Return the blueprint that FAB makes, behind our own checks."""
        blueprint: flask.Blueprint = super().create_blueprint(*args, **options)
        blueprint.before_request(_admit)
        say_no_in_our_way(blueprint)
        return blueprint

    def show(self, template: str, *, status: int = 200, **context: Any) -> ResponseReturnValue:
        """Return a page or fragment made from ``templates/incoming/<template>``."""
        return flask.render_template(f"incoming/{template}", **context), status

    def redirect(self, endpoint: str, *, notice: str | None = None, **values: Any) -> ResponseReturnValue:
        """Send the browser to another page, which says ``notice`` (a code of NOTICES) once."""
        address = flask.url_for(endpoint, notice=notice, **values)
        if is_fragment():
            return flask.Response(status=204, headers={"HX-Redirect": address})
        return flask.redirect(address, code=303)


def say_no_in_our_way(blueprint: flask.Blueprint) -> None:
    """Give a blueprint pages for what goes wrong, which look like ours."""
    blueprint.context_processor(context_of_pages)
    blueprint.register_error_handler(IncomingError, _show_error)
    for status in default_exceptions:  # one by one: Airflow has its own for some, which would come first
        blueprint.register_error_handler(status, _show_http_error)
    blueprint.register_error_handler(Exception, _show_unexpected)


def protect(response: Response) -> Response:
    """Give every answer below ROOT its headers, also those that no view of ours made."""
    if not is_below(flask.request.path):
        return response
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    # Scheme and host of the request may be those of a proxy; the browser knows its own.
    location = response.headers.get("Location", "")
    if location.startswith(flask.request.host_url):
        response.headers["Location"] = location[len(flask.request.host_url) - 1 :]
    return response


def is_below(path: str) -> bool:
    """Tell whether a path is one of ours."""
    return f"{path}/".startswith(f"{ROOT}/")


def visitor() -> Visitor:
    """Return who made this request; a view is never reached by anybody unknown."""
    known: Visitor = flask.g.incoming_visitor
    return known


def is_fragment() -> bool:
    """Tell whether a script asks for a part of a page."""
    return "HX-Request" in flask.request.headers


def _admit() -> ResponseReturnValue | None:
    """Refuse whoever is not signed in, or lacks what the view needs."""
    known = flask.g.incoming_visitor = visitor_of(flask.request.cookies.get(TOKEN_COOKIE))
    if known is None:
        return _answer(Problem.signed_out())
    view = flask.current_app.view_functions.get(flask.request.endpoint or "")
    needed: tuple[Permission, ...] | None = getattr(view, "_needs", None)
    if needed is None:
        log.error("The view %s doesn't say what it needs, so nobody may see it", flask.request.endpoint)
        return _answer(Problem.forbidden(()))
    missing = tuple(permission for permission in needed if not known.may(permission))
    if missing:
        return _answer(Problem.forbidden(missing))
    if flask.request.method not in _SAFE_METHODS:
        if not flask.g.get("csrf_valid"):
            # FAB's protection has run before; this is for installations that switched it off.
            flask.current_app.extensions["csrf"].protect()
        if is_of_nobody():
            return _answer(Problem.outdated())
        if is_of_another(known):
            return _answer(Problem.signed_in_anew(known.name))
    if _has_null():
        return _answer(Problem.null_character())
    return None


def _has_null() -> bool:
    """Tell whether a text of the request holds U+0000, which no browser types and no database takes."""
    request = flask.request
    fields = [*request.args.items(multi=True), *request.form.items(multi=True)]
    return any("\0" in text for text in [request.path, *(text for field in fields for text in field)])


def _show_error(error: IncomingError) -> ResponseReturnValue:
    return _answer(problem_of(error, status_of(type(error))))


def _show_http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None or (error.code or 500) < 400:
        return error.get_response()  # a redirect, for one
    if error.code == 400 and visitor_of(flask.request.cookies.get(TOKEN_COOKIE)) is None:
        return _answer(Problem.signed_out())  # the CSRF protection comes first, but a new token wouldn't help
    return _answer(Problem.of_http(error))


def _show_unexpected(error: Exception) -> ResponseReturnValue:
    return _answer(unexpected(error))


def _answer(problem: Problem) -> ResponseReturnValue:
    template = "incoming/problem.html" if is_fragment() else "incoming/error.html"
    return flask.render_template(template, problem=problem), problem.status
