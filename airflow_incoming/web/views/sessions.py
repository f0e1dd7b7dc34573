"""A session cookie of our own, so that the pages never touch the one that Airflow's login lives in.

Airflow serves the views of plugins with plain Flask sessions under the name that FAB's login uses,
too. A CSRF token written there would replace the login by a session that knows nobody.
"""

from __future__ import annotations

import flask
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionInterface, SessionMixin

COOKIE = "incoming_session"


class SessionsOfPages(SessionInterface):
    """Gives requests below ``prefix`` their own cookie, and every other request what it had."""

    def __init__(self, others: SessionInterface, prefix: str) -> None:
        self._others = others
        self._ours = _OwnCookie(prefix)
        self._prefix = prefix

    def open_session(self, app: flask.Flask, request: flask.Request) -> SessionMixin | None:
        """Return the session that the request's cookie carries."""
        return self._responsible(request).open_session(app, request)

    def save_session(self, app: flask.Flask, session: SessionMixin, response: flask.Response) -> None:
        """Set the cookie where the session changed."""
        self._responsible(flask.request).save_session(app, session, response)

    def is_null_session(self, obj: object) -> bool:
        """Tell whether this is what stands for a session that can't be kept."""
        return self._others.is_null_session(obj)

    def _responsible(self, request: flask.Request) -> SessionInterface | _OwnCookie:
        return self._ours if f"{request.path}/".startswith(f"{self._prefix}/") else self._others


class _OwnCookie(SecureCookieSessionInterface):
    """Signed cookies, sent only to the pages."""

    session_class = SecureCookieSession

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def get_cookie_name(self, app: flask.Flask) -> str:
        return COOKIE

    def get_cookie_path(self, app: flask.Flask) -> str:
        return f"{flask.request.script_root}{self._prefix}"

    def get_cookie_httponly(self, app: flask.Flask) -> bool:
        return True

    def get_cookie_secure(self, app: flask.Flask) -> bool:
        return flask.request.is_secure

    def get_cookie_samesite(self, app: flask.Flask) -> str:
        return "Lax"
