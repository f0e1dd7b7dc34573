"""Airflow's access log shows the path and query of each request, and doesn't know what of them is secret."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_incoming.core.redaction import REDACTED, cut_query, endpoint_in, redact_query
from airflow_incoming.web.paths import prefix_of

#: Characters of an endpoint's id that are shown: of 128 random bits 108 stay unknown.
ID_SHOWN = 4
#: An endpoint's id, however it is mistyped.
_ENDPOINT_LIKE = re.compile(r"[A-Za-z2-7]{26,}")
#: Characters of a query that are shown. Redacting takes longest of all that a stranger's request does.
QUERY_SHOWN = 2048


class RedactedURL:
    """Leaves a redacted path and query to whoever is in front, and the real ones to whoever is behind.

    In front is Airflow's access log: it reads the scope when the request has ended. ``prefixes`` are the
    paths that are ours; no others are touched.
    """

    def __init__(self, app: ASGIApp, prefixes: Sequence[str]) -> None:
        self._app = app
        self._prefixes = tuple(prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if prefix_of(scope, self._prefixes) is not None:
            behind = dict(scope)
            _redact(scope)
            scope = behind
        await self._app(scope, receive, send)


def _redact(scope: Scope) -> None:
    """Change a scope in place: of an endpoint's id its first letters are left, to tell it from others."""
    path, query = scope["path"], scope.get("query_string", b"")
    endpoint_id = endpoint_in(path)
    shown = _ENDPOINT_LIKE.sub(lambda found: f"{found[0][:ID_SHOWN]}{REDACTED}", path)
    if shown != path:
        scope["path"], scope["raw_path"] = shown, shown.encode("utf-8", "surrogatepass")
    if query:
        shown = cut_query(query.decode("ascii", errors="replace"), QUERY_SHOWN)
        redacted = redact_query(shown, endpoint_id=endpoint_id)
        scope["query_string"] = redacted.encode("ascii", errors="replace")
