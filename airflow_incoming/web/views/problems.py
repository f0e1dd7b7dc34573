"""What a page says when it can't do what was asked: a title, what happened, what to do."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from uuid import uuid4

from werkzeug.exceptions import HTTPException

from airflow_incoming.core.errors import IncomingError
from airflow_incoming.web.access import Permission

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One answer that is no page. ``action`` is ``login``, ``reload`` or ``again`` where that helps."""

    status: int
    title: str
    detail: str
    action: str | None = None

    @classmethod
    def signed_out(cls) -> Problem:
        """Return what somebody without a valid login is told."""
        return cls(
            status=401,
            title="You are signed out",
            detail="Sign in to Airflow, then try again.",
            action="login",
        )

    @classmethod
    def outdated(cls) -> Problem:
        """Return what is said where a page's token is missing or not valid any more."""
        return cls(
            status=400,
            title="This page was open for too long",
            detail="Nothing was changed. Try again.",
            action="again",
        )

    @classmethod
    def signed_in_anew(cls, name: str) -> Problem:
        """Return what is said where another user opened the page in the same browser."""
        return cls(
            status=400,
            title="You are signed in as somebody else now",
            detail=f"Another user opened this page. Nothing was changed. Try again to do it as {name}.",
            action="again",
        )

    @classmethod
    def forbidden(cls, missing: tuple[Permission, ...]) -> Problem:
        """Return what somebody without permission is told: which one to ask for."""
        verbs = {"GET": "can read", "PUT": "can edit"}
        names = " and ".join(f"“{verbs[each.method]} on {each.resource}”" for each in missing)
        wanted = f" It takes {names}." if names else ""
        if any(each.method == "PUT" for each in missing):
            wanted += " Changes also take the right to edit Connections."
        return cls(
            status=403,
            title="You may not do this",
            detail=f"Your role doesn't allow it.{wanted} Ask an administrator of Airflow.",
        )

    @classmethod
    def null_character(cls) -> Problem:
        """Return what is said to a request that no browser makes."""
        return cls(
            status=400, title="This can't be read", detail="The request holds a null character (U+0000)."
        )

    @classmethod
    def of_http(cls, error: HTTPException) -> Problem:
        """Return a refusal that Flask or its CSRF protection came up with."""
        status = error.code or 500
        if status == 400 and "CSRF" in (error.description or ""):
            return cls.outdated()
        texts = {
            404: ("There is no such page", "The address may be mistyped, or what it showed was deleted."),
            405: ("This can't be opened like that", "Go back and use the buttons of the page."),
            413: ("That is too large", "Send less at once."),
        }
        title, detail = texts.get(status, (error.name, error.description or error.name))
        return cls(status=status, title=title, detail=detail)


def problem_of(error: IncomingError, status: int) -> Problem:
    """Return one of our own errors as a problem."""
    return Problem(status=status, title=type(error).title(), detail=error.detail)


def unexpected(error: Exception) -> Problem:
    """Log an error that nobody foresaw, and return what the user is told: an id to find it by."""
    error_id = uuid4().hex[:12]
    log.error("A page failed (error id %s)", error_id, exc_info=error)
    return Problem(
        status=500,
        title="Something went wrong",
        detail=f"Nothing was changed as far as we know. The api-server's log says more: error id {error_id}.",
        action="reload",
    )
