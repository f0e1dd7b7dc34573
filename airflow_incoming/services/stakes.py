"""What is at stake where somebody changes an integration, a credential or a hash: see :mod:`rights`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from uuid import UUID

from sqlalchemy import Connection, or_, select

from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.records import Integration
from airflow_incoming.db import tables
from airflow_incoming.services import teams
from airflow_incoming.services.rights import Actor, Stakes, demand, demand_all
from airflow_incoming.services.watchers import started_by_watchers
from airflow_incoming.stores import integrations, pending

#: What is at stake under a name, beside new configurations.
Finds = Callable[..., Stakes]


def of_configurations(
    connection: Connection,
    configurations: Iterable[Configuration],
    watching: Collection[str] = (),
    *,
    is_known: bool = True,
) -> Stakes:
    """Return what configurations start; ``watching`` are the DAGs that watchers start besides."""
    known = list(configurations)
    dags = tuple(dict.fromkeys(dag_id for each in known for dag_id in each.dags))
    missing = None
    if teams.enabled():
        missing = frozenset(dags) - teams.teams_of(connection, dags).keys()
    return Stakes(
        dags=dags,
        watching=frozenset(watching),
        assets=any(each.assets for each in known),
        missing=missing,
        is_known=is_known,
    )


def of_draft(connection: Connection, name: str, *new: Configuration) -> Stakes:
    """Return what the newest version of an integration would start, beside new configurations.

    Watchers listen to a name, so they count also where no integration has it yet.
    """
    found = integrations.find(connection, name)
    newest = () if found is None else (found.current.configuration,)
    return of_configurations(connection, (*newest, *new), _watching(connection, name))


def of_integration(connection: Connection, name: str, *new: Configuration) -> Stakes:
    """Return all that an integration may start: its newest and its published version, those that its
    pending events run under, and new configurations.
    """
    return _of_integration(connection, name, _watching(connection, name), new)


def of_credential(connection: Connection, field: str, value: str) -> dict[str, Stakes]:
    """Return what a credential may start, by the name of each integration that it opens.

    ``field`` is where an integration's authentication names it, such as ``api_key``: in its newest or
    published version, or in one that its pending events run under.
    """
    naming = integrations.versions_naming(connection, field, value)
    watching = started_by_watchers(connection) if naming else {}
    opened: dict[str, Stakes] = {}
    for found in integrations.list_all(connection, naming):
        live = {each.id for each in (found.current, found.published) if each is not None}
        if naming[found.name] & live or naming[found.name] & pending.versions(connection, found):
            listens = watching.get(found.name, frozenset())
            opened[found.name] = _of_integration(connection, found.name, listens, ())
    return opened


def of_endpoints(connection: Connection, found: Iterable[Integration]) -> dict[str, Stakes]:
    """Return what whoever knows an endpoint may start, by name; without those that take a credential."""
    watching = started_by_watchers(connection)
    opened: dict[str, Stakes] = {}
    for each in found:
        versions = [version for version in (each.current, each.published) if version is not None]
        known = [one.configuration for one in versions if one.configuration.auth.type == "none"]
        if known:
            opened[each.name] = of_configurations(connection, known, watching.get(each.name, ()))
    return opened


def of_hash(connection: Connection, hash_: str, owner: UUID | None) -> list[Stakes]:
    """Return what the next request of a hash may start; ``owner`` is its first event, as Redis knows it.

    Of an integration that was deleted, nothing will run.
    """
    table, dedup, event = tables.integration, tables.dedup, tables.event
    names = select(table.c.name).where(
        or_(
            table.c.id.in_(select(dedup.c.integration_id).where(dedup.c.hash == hash_)),
            table.c.id.in_(select(event.c.integration_id).where(event.c.id == owner)),
        )
    )
    return [of_integration(connection, name) for name in connection.scalars(names)]


def permit(connection: Connection, actor: Actor, find: Finds, name: str, *new: Configuration) -> None:
    """Raise Forbidden unless an actor may start what ``find`` finds: of_integration, or of_draft."""
    if not actor.is_trusted:
        demand(actor, find(connection, name, *new))


def permit_key(connection: Connection, actor: Actor, name: str) -> None:
    """Raise Forbidden unless an actor may start all that an API key of this name opens."""
    if not actor.is_trusted:
        demand_all(actor, f"API key {name!r}", of_credential(connection, "api_key", name))


def permit_hash(connection: Connection, actor: Actor, hash_: str, owner: UUID | None) -> None:
    """Raise Forbidden unless an actor may start what the next request of a hash does."""
    if not actor.is_trusted:
        for stakes in of_hash(connection, hash_, owner):
            demand(actor, stakes)


def _of_integration(
    connection: Connection, name: str, watching: Collection[str], new: tuple[Configuration, ...]
) -> Stakes:
    found = integrations.find(connection, name)
    versions: set[UUID] = set()
    if found is not None:
        live = set() if found.published is None else {found.published.id}
        versions = {found.current.id} | live | pending.versions(connection, found)
    known = integrations.read_configurations(connection, versions)
    is_known = len(known) == len(versions)
    return of_configurations(connection, (*known.values(), *new), watching, is_known=is_known)


def _watching(connection: Connection, name: str) -> frozenset[str]:
    return started_by_watchers(connection).get(name, frozenset())
