"""Airflow's access log shows the query of each request, and knows fewer names of credentials than we do."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_incoming.core.redaction import cut_query, redact_query
from airflow_incoming.web.paths import prefix_of


class RedactedQuery:
    """Leaves a redacted query to whoever is in front, and the real one to whoever is behind.

    In front is Airflow's access log: it reads the scope when the request has ended. ``prefixes`` are the
    paths that are ours; no others are touched.
    """

    def __init__(self, app: ASGIApp, prefixes: Sequence[str]) -> None:
        self._app = app
        self._prefixes = tuple(prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope.get("query_string") and prefix_of(scope, self._prefixes) is not None:
            behind = dict(scope)
            query = redact_query(cut_query(scope["query_string"].decode("ascii", errors="replace")))
            scope["query_string"] = query.encode("ascii", errors="replace")
            scope = behind
        await self._app(scope, receive, send)
