"""What the web floor needs of the floor below."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from airflow_incoming.core.messages import Outcome, Request
from airflow_incoming.services.health import HealthReport
from airflow_incoming.services.keys import IssuedToken


class Receiver(Protocol):
    """Decides requests."""

    def receive(self, request: Request) -> Future[Outcome]:
        """Return a future that ends with an Outcome or an error of :mod:`core.errors`."""


class TokenIssuer(Protocol):
    """Exchanges API keys for JWTs; may block."""

    def issue(self, api_key: str, *, remote: str | None) -> IssuedToken:
        """Return a JWT. Raises Unauthorized, RateLimited, Unavailable."""


class Health(Protocol):
    """Tells how things are; may block."""

    def report(self) -> HealthReport:
        """Return how things are."""


class Container(Protocol):
    """Everything that one receiving process runs."""

    @property
    def receiver(self) -> Receiver:
        """Return what decides requests."""

    @property
    def token_issuer(self) -> TokenIssuer:
        """Return what makes JWTs."""

    @property
    def health(self) -> Health:
        """Return what tells how things are."""

    @property
    def accept_timeout(self) -> float:
        """Return the seconds after which an undecided request answers 503."""

    def start(self) -> None:
        """Start; does nothing where it runs."""

    def stop(self) -> None:
        """Stop; does nothing where it doesn't run."""


ContainerFactory = Callable[[], Container]
