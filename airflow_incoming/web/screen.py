"""What a request's head decides by itself, so that nobody's body is read for nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from starlette.types import Scope

from airflow_incoming.core.errors import RequestRejected
from airflow_incoming.core.messages import Endpoint, Outcome, Request
from airflow_incoming.web.framing import Headers, texts_of
from airflow_incoming.web.paths import is_under
from airflow_incoming.web.ports import Receiver
from airflow_incoming.web.routes import MAX_TOKEN_BODY, find_route

#: Where the scope carries what was found out, for the native receiver.
HEAD = "airflow_incoming.head"


class Screened(NamedTuple):
    """What the head of a request says; a tuple, because each request pays for making one.

    ``reads``: the body matters. ``most``: bytes that it may have, if fewer than usual. ``head``: the request
    without its body, and the endpoint that it is let in to. ``refusal``: becomes the answer, and is taken
    note of. ``refresh``: when this is done, it is worth another look.
    """

    reads: bool = True
    most: int | None = None
    head: tuple[Request, Endpoint] | None = None
    refusal: Future[Outcome] | None = None
    refresh: Future[Any] | None = None


_READ = Screened()
_READ_KEY = Screened(most=MAX_TOKEN_BODY)
_ANSWERED = Screened(reads=False)


class Screen:
    """Looks at heads. ``bases`` are the paths of receivers; ``find`` returns who decides, if it runs."""

    def __init__(self, bases: tuple[str, ...], find: Callable[[], Receiver | None]) -> None:
        self._bases = bases
        self._find = find

    def look(self, scope: Scope, path: str, headers: Headers, length: int | None) -> Screened:
        """Return what a head says; ``length`` is the declared one of its body.

        What answers 404 or 405 at this path, or how things are, does so whatever the body is.
        """
        for base in self._bases:  # a generator would cost each request more
            if is_under(path, base):
                break
        else:
            return _ANSWERED
        try:
            room, endpoint_id = find_route(scope["method"], path[len(base) :])
        except RequestRejected:
            return _ANSWERED
        if room != "receive":
            return _READ_KEY if room == "token" else _ANSWERED
        receiver = self._find()
        if receiver is None:
            return _READ
        head = head_of(scope, endpoint_id, headers, length or 0)
        found = receiver.screen(head)
        if isinstance(found, Endpoint):
            return Screened(head=(head, found))
        if found is not None:
            return Screened(reads=False, refusal=found)
        refresh = receiver.refresh()
        return _READ if refresh is None else Screened(refresh=refresh)


def head_of(scope: Scope, endpoint_id: str, headers: Headers, announced: int = 0) -> Request:
    """Return our request for an ASGI one, but for its body. The guard has left each header once."""
    client = scope.get("client")
    return Request(
        endpoint_id=endpoint_id,
        body=b"",
        headers=texts_of(headers),
        query=scope["query_string"].decode("latin-1"),
        remote=client[0] if client else None,
        announced=announced,
    )
