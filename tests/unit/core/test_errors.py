from __future__ import annotations

from collections.abc import Iterator

from airflow_incoming.core import errors
from airflow_incoming.core.errors import (
    ConfTooLarge,
    IncomingError,
    Overloaded,
    RedisUnavailable,
    RequestRejected,
    Stopping,
    Unauthorized,
    Unavailable,
    format_path,
)


def family(kind: type[IncomingError]) -> Iterator[type[IncomingError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from family(child)


def test_the_docstring_draws_the_whole_tree() -> None:
    """Whoever reads the module's first lines knows all errors."""
    for kind in family(IncomingError):
        assert f"─ {kind.__name__} " in f"{errors.__doc__}".replace("\n", " ")


def test_every_refusal_has_a_code_of_its_own() -> None:
    """Programs tell errors apart by their code."""
    codes = [kind.code for kind in family(RequestRejected)]

    assert len(set(codes)) == len(codes)
    assert RequestRejected.code not in codes


def test_every_title_is_one_sentence() -> None:
    """The first line of the docstring is what people read."""
    for kind in family(IncomingError):
        assert kind.title().endswith(".")
        assert len(kind.title()) <= 110


def test_a_503_says_of_what_was_tried_that_it_may_not_be_stored_and_never_that_it_is_not() -> None:
    """A COMMIT may be carried out whose answer never came; who refuses before it knows better."""
    told = {
        kind: kind.title() for kind in [Unavailable, *family(Unavailable)] if kind is not RedisUnavailable
    }
    sure = {kind for kind, title in told.items() if "was not stored" in title}
    assert sure == {Overloaded, Stopping}
    assert all("may not have been stored" in title for kind, title in told.items() if kind not in sure)
    assert all("send it again" in title for title in told.values())


def test_the_reason_of_an_unauthorized_request_stays_here() -> None:
    """Neither the detail nor the text of the exception tells it."""
    error = Unauthorized("the token has expired")

    assert "expired" not in error.detail + str(error)


def test_a_conf_may_be_too_large_to_be_measured() -> None:
    """Then the limit alone is told as a number."""
    assert (
        ConfTooLarge(5, 4).detail
        == "The flattened payload has 5 bytes as JSON, the limit for a DAG run is 4 bytes."
    )
    assert ConfTooLarge(None, 4).detail == (
        "The flattened payload has even more bytes as JSON, the limit for a DAG run is 4 bytes."
    )


def test_paths_are_written_as_in_python() -> None:
    """integrations[0].auth.type."""
    assert format_path(("integrations", 0, "auth", "type")) == "integrations[0].auth.type"
    assert format_path(()) == ""
