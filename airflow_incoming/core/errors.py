"""Every error that leaves a room, in one tree.

The first line of a class's docstring is its title; ``detail`` says what happened, where, and what
to do; ``code`` is stable and may be relied on by programs::

    IncomingError
    ├── RequestRejected                  the sender must change the request
    │   ├── EndpointNotFound             no published integration has this endpoint
    │   ├── Unauthorized                 missing or bad credential
    │   ├── MethodNotAllowed             not POST
    │   ├── BodyTimeout                  the body did not arrive in time
    │   ├── BodyTooLarge                 over the body limit
    │   ├── ConfTooLarge                 over the limit of a DAG run's conf
    │   ├── HeadersTooLarge              too many or too large headers
    │   ├── UnsupportedMediaType         not JSON, or encoded
    │   ├── MalformedJSON                not RFC 8259
    │   ├── UnstorableJSON               JSON that no database can hold exactly
    │   ├── BadDeduplicationHash         the sender's own hash is not usable
    │   └── RateLimited                  over the integration's rate
    ├── Unavailable                      our fault; the sender should retry
    │   ├── DatabaseUnavailable
    │   │   └── DatabaseBusy             somebody else held a lock for too long
    │   ├── RedisUnavailable
    │   ├── Overloaded
    │   ├── Undecided                    not decided in time; it may be stored all the same
    │   └── Stopping
    ├── DispatchFailed                   an event could not be turned into DAG runs
    ├── AlreadyLaunched                  another dispatcher was faster
    ├── TransactionLost                  Airflow rolled back more than it was asked to
    └── ManagementError                  an administrator must change a command or a file
        ├── InvalidConfiguration         a field of an integration is wrong
        ├── NotFound                     no such integration, key, event
        ├── Conflict                     the present state does not allow it
        ├── Forbidden                    somebody may not start what it may start
        └── SecretsUnprotected           no Fernet key to encrypt secrets with
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from airflow_incoming.core.messages import Started


class IncomingError(Exception):
    """Something went wrong in airflow-incoming."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.title()
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """Return the one sentence that names this kind of error."""
        return (cls.__doc__ or cls.__name__).splitlines()[0].strip()


class RequestRejected(IncomingError):
    """The request can't be accepted."""

    code = "rejected"


class EndpointNotFound(RequestRejected):
    """There is no such endpoint."""

    code = "not_found"


class Unauthorized(RequestRejected):
    """The request isn't authorized.

    ``reason`` is for the server's log only; a stranger is told nothing more than the title.
    ``stranger`` is False where the sender has proven to hold one of our keys all the same, such as
    with a token that has expired.
    """

    code = "unauthorized"

    def __init__(self, reason: str, *, stranger: bool = True) -> None:
        super().__init__()
        self.reason = reason
        self.stranger = stranger


class MethodNotAllowed(RequestRejected):
    """Only POST is allowed here."""

    code = "method_not_allowed"


class BodyTimeout(RequestRejected):
    """The request body did not arrive in time."""

    code = "body_timeout"


class BodyTooLarge(RequestRejected):
    """The request body is too large."""

    code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is larger than the limit of {limit} bytes.")
        self.limit = limit


class ConfTooLarge(RequestRejected):
    """The flattened payload is too large for a DAG run."""

    code = "conf_too_large"

    def __init__(self, size: int | None, limit: int) -> None:
        measured = f"{size} bytes" if size is not None else "even more bytes"
        super().__init__(
            f"The flattened payload has {measured} as JSON, the limit for a DAG run is {limit} bytes."
        )
        self.size = size
        self.limit = limit


class HeadersTooLarge(RequestRejected):
    """The request headers are too large."""

    code = "headers_too_large"


class UnsupportedMediaType(RequestRejected):
    """The content type must be application/json, without a content encoding.

    ``because`` tells which of the two it is that isn't taken.
    """

    code = "unsupported_media_type"

    def __init__(self, detail: str | None = None, *, because: Literal["type", "encoding"] = "type") -> None:
        super().__init__(detail)
        self.because = because


class MalformedJSON(RequestRejected):
    """The request body isn't a JSON object or array."""

    code = "malformed_json"


class UnstorableJSON(RequestRejected):
    """The request body is JSON that can't be stored exactly."""

    code = "unstorable_json"

    def __init__(self, detail: str, *, parameter: str | None = None) -> None:
        super().__init__(f"Parameter {parameter!r}: {detail}" if parameter is not None else detail)
        self.parameter = parameter


class BadDeduplicationHash(RequestRejected):
    """The header with the sender's own deduplication hash can't be used."""

    code = "bad_deduplication_hash"


class RateLimited(RequestRejected):
    """Too many requests."""

    code = "rate_limited"

    def __init__(self, retry_after: float, detail: str | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(IncomingError):
    """The service is temporarily unavailable; the request may not have been stored, send it again.

    It may have been, too: a COMMIT may be carried out whose answer never came. With deduplication a
    request that is sent again can't start a second run. Only those who refuse before anything is tried
    may say that it was not stored.
    """

    code = "unavailable"
    retry_after: float = 1.0


class DatabaseUnavailable(Unavailable):
    """The metadata database is unavailable; the request may not have been stored, send it again."""

    code = "database_unavailable"
    retry_after = 5.0


class DatabaseBusy(DatabaseUnavailable):
    """The metadata database is busy; the request may not have been stored, send it again."""

    code = "database_busy"


class RedisUnavailable(Unavailable):
    """Redis is unavailable."""

    code = "redis_unavailable"


class Overloaded(Unavailable):
    """Too many requests are waiting; the request was not stored, send it again."""

    code = "overloaded"


class Undecided(Unavailable):
    """The request was not decided in time; it may not have been stored, send it again."""

    code = "undecided"
    retry_after = 5.0


class Stopping(Unavailable):
    """The service is stopping; the request was not stored, send it again."""

    code = "stopping"


class DispatchFailed(IncomingError):
    """The event could not be turned into DAG runs.

    ``retry`` tells whether another attempt can help without anybody touching the event.
    ``waiting_for`` names what has to appear first: ``dag:<dag id>`` or ``asset:<uri>``.
    """

    code = "dispatch_failed"

    def __init__(self, detail: str, *, retry: bool, waiting_for: str | None = None) -> None:
        super().__init__(detail)
        self.retry = retry
        self.waiting_for = waiting_for


class AlreadyLaunched(IncomingError):
    """Another dispatcher made the DAG runs of this event at the same moment.

    Its transaction is committed, so every target of the event has been served: ``started`` says what
    there is. Roll the savepoint back and mark the event as dispatched.
    """

    code = "already_launched"

    def __init__(self, detail: str, *, started: tuple[Started, ...]) -> None:
        super().__init__(detail)
        self.started = started


class TransactionLost(IncomingError):
    """Airflow rolled back the whole transaction; nothing of the batch is stored.

    ``create_dagrun`` answers an IntegrityError on its task instances with ``session.rollback()``
    and no exception: without this error the batch would be lost in silence.
    """

    code = "transaction_lost"


class ManagementError(IncomingError):
    """The command can't be carried out."""

    code = "management_error"


class InvalidConfiguration(ManagementError):
    """A field of an integration is wrong.

    ``path`` leads to the field: ``("integrations", 0, "auth", "type")``.
    """

    code = "invalid_configuration"

    def __init__(self, path: tuple[str | int, ...], problem: str) -> None:
        super().__init__(f"{format_path(path)}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class NotFound(ManagementError):
    """There is nothing of this name."""

    code = "not_found"

    def __init__(self, kind: str, name: str, hint: str = "") -> None:
        super().__init__(f"There is no {kind} {name!r}.{' ' + hint if hint else ''}")
        self.kind = kind
        self.name = name


class Conflict(ManagementError):
    """The present state doesn't allow this."""

    code = "conflict"


class Forbidden(ManagementError):
    """You may not do this."""

    code = "forbidden"


class SecretsUnprotected(ManagementError):
    """API keys need [core] fernet_key to be set, because their secrets are stored encrypted."""

    code = "secrets_unprotected"


def format_path(path: tuple[str | int, ...]) -> str:
    """Return ``("integrations", 0, "auth")`` as ``integrations[0].auth``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
