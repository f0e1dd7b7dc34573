"""CSRF tokens of one user alone: another who signs in with the same browser takes another one.

Flask-WTF binds a token to our session cookie. Somebody who can plant cookies could plant their own
with their own token, so the session knows whose it is.
"""

from __future__ import annotations

import flask
from flask_wtf.csrf import generate_csrf

from airflow_incoming.web.access import Visitor

_USER = "user"


def csrf_token() -> str:
    """Return a token for whoever is signed in; an empty one where nobody is."""
    known: Visitor | None = flask.g.get("incoming_visitor")
    if known is None:
        return ""
    if flask.session.get(_USER) != known.id:
        flask.session.clear()
        flask.session[_USER] = known.id
    return str(generate_csrf())


def is_of_another(known: Visitor) -> bool:
    """Tell whether the session, and so the token that came with it, is another user's."""
    return bool(flask.session.get(_USER, known.id) != known.id)


def is_of_nobody() -> bool:
    """Tell whether the session is from before, when it didn't say whose it is."""
    return _USER not in flask.session
