"""What the state of the installation demands of a configuration, beyond its own rules."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.integration import Configuration, State
from airflow_incoming.stores import keys


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Limits of the installation that no integration may exceed, in bytes."""

    max_body: int


def check_configuration(
    connection: Connection,
    configuration: Configuration,
    state: State,
    bounds: Bounds,
    path: tuple[str | int, ...] = (),
) -> None:
    """Raise InvalidConfiguration where a configuration can't have this state here and now.

    ``path`` leads to the configuration, and begins the path of the error.
    """
    body = configuration.limits.body
    if body is not None and body > bounds.max_body:
        raise InvalidConfiguration(
            (*path, "limits", "body"),
            f"is larger than [incoming] max_body ({bounds.max_body} bytes); raise that first",
        )
    name = configuration.auth.api_key
    if name is None or state == "draft":
        return
    key = keys.find(connection, name)
    if key is None or key.revoked_at is not None:
        problem = "there is no API key" if key is None else "revoked is the API key"
        raise InvalidConfiguration(
            (*path, "auth", "api_key"),
            f"{problem} {name!r}; make one with: airflow incoming keys create {name}",
        )
