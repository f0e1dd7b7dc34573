"""What the web floor needs of the floors below; it knows no concrete class of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Literal, Protocol

from airflow_incoming.core.messages import Endpoint, Outcome, Request


class Receiver(Protocol):
    """Decides what becomes of a request."""

    def receive(self, request: Request) -> Future[Outcome]:
        """Return a future that ends with an Outcome or an error of :mod:`core.errors`.

        Doesn't block: it is called on the event loop.
        """

    def screen(self, head: Request) -> Endpoint | Future[Outcome] | None:
        """Return the endpoint that a request is let in to, or its refusal, if its head alone decides that.

        Doesn't block either.
        """

    def refresh(self) -> Future[Any] | None:
        """Return a future after which ``screen`` may tell more; None where it wouldn't.

        Doesn't block either; the future may end with an error.
        """


class IssuedToken(Protocol):
    """A JWT and the whole seconds for which it is valid."""

    @property
    def token(self) -> str: ...

    @property
    def expires_in(self) -> int: ...


class TokenIssuer(Protocol):
    """Exchanges API keys for JWTs."""

    def issue(self, api_key: str, *, remote: str | None) -> IssuedToken:
        """Return a JWT; may block. Raises Unauthorized, RateLimited or Unavailable."""


class HealthReport(Protocol):
    """How the service is, as a whole and by part."""

    @property
    def status(self) -> Literal["healthy", "degraded", "unavailable"]: ...

    @property
    def parts(self) -> Mapping[str, Mapping[str, Any]]: ...


class Health(Protocol):
    """Looks after database, Redis and dispatcher."""

    def report(self) -> HealthReport:
        """Return how things are; may block."""


class Tally(Protocol):
    """Remembers requests that were refused before the receiver saw them; neither blocks nor raises."""

    def refused(self, path: str, error: Exception, *, remote: str | None, size: int) -> None:
        """Take note of one; the last part of its path is the endpoint's id, if it has one."""


class Container(Protocol):
    """Everything that one receiving process runs. ``start`` and ``stop`` may block and be repeated."""

    @property
    def receiver(self) -> Receiver: ...

    @property
    def token_issuer(self) -> TokenIssuer: ...

    @property
    def health(self) -> Health: ...

    @property
    def tally(self) -> Tally: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...
