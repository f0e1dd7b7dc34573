"""What is at stake where somebody changes an integration, a credential or a hash: see :mod:`rights`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection, or_, select

from airflow_incoming.core.errors import Forbidden
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.records import Integration, Version
from airflow_incoming.db import tables
from airflow_incoming.services import teams
from airflow_incoming.services.rights import ASK, Actor, Stakes, demand, demand_all, lacking
from airflow_incoming.services.watchers import started_by_watchers
from airflow_incoming.stores import integrations, pending

K = TypeVar("K")

#: What is at stake under a name, beside new configurations.
Finds = Callable[..., Stakes]
#: Configurations; None is one that this release can't read.
Configurations = Iterable["Configuration | None"]


def of_each(
    connection: Connection,
    configurations: Mapping[K, Configurations],
    watching: Mapping[K, Iterable[str]],
) -> dict[K, Stakes]:
    """Return what configurations start, by any key, and ``watching``, the DAGs that watchers start besides.

    Where Airflow has teams, one statement for all.
    """
    found: dict[K, Stakes] = {}
    for key, each in configurations.items():
        given = list(each)
        known = [one for one in given if one is not None]
        found[key] = Stakes(
            dags=tuple(dict.fromkeys(dag_id for one in known for dag_id in one.dags)),
            watching=frozenset(watching.get(key, ())),
            assets=any(one.assets for one in known),
            is_known=len(known) == len(given),
        )
    everything = {dag_id for each in found.values() for dag_id in (*each.dags, *each.watching)}
    owners = teams.present(connection, everything)
    if owners is None:
        return found
    return {
        key: replace(each, teams={d: owners[d] for d in (*each.dags, *each.watching) if d in owners})
        for key, each in found.items()
    }


def of_configuration(connection: Connection, configuration: Configuration) -> Stakes:
    """Return what a configuration starts."""
    configurations: dict[str, Configurations] = {"": [configuration]}
    return of_each(connection, configurations, {})[""]


def of_draft(connection: Connection, name: str, *new: Configuration) -> Stakes:
    """Return what the newest version of an integration would start, beside new configurations.

    Watchers listen to a name, so they count also where no integration has it yet.
    """
    found = integrations.find(connection, name)
    newest = () if found is None else (found.current.configuration,)
    return of_each(connection, {name: (*newest, *new)}, started_by_watchers(connection))[name]


def of_live(connection: Connection, name: str) -> Stakes:
    """Return what the newest and the published version of an integration start."""
    found = integrations.find(connection, name)
    known = () if found is None else (found.current.configuration, *_published(found))
    return of_each(connection, {name: known}, started_by_watchers(connection))[name]


def of_integration(connection: Connection, name: str, *new: Configuration) -> Stakes:
    """Return all that an integration may start: its newest and its published version, new configurations,
    and older versions: under these its pending events may run.
    """
    found = integrations.find(connection, name)
    configurations: dict[UUID | None, Configurations] = {None: new}
    if found is not None:
        configurations[None] = (found.current.configuration, *_published(found), *new)
        live = {each.id for each in (found.current, found.published) if each is not None}
        kept = integrations.all_configurations(connection, found.id)
        configurations |= {each: [kept[each]] for each in kept if each not in live}
    watching: dict[UUID | None, Iterable[str]] = {None: started_by_watchers(connection).get(name, ())}
    started = of_each(connection, configurations, watching)
    older = {version_id: each for version_id, each in started.items() if version_id is not None}
    return replace(started[None], older=older)


def of_credential(connection: Connection, field: str, value: str) -> dict[str, Stakes]:
    """Return what a credential may start, by the name of each integration that it opens.

    ``field`` is where an integration's authentication names it, such as ``api_key``: in any version,
    because an old one may be brought back.
    """
    naming = integrations.versions_naming(connection, field, value)
    return of_each(connection, naming, started_by_watchers(connection) if naming else {})


def of_endpoints(connection: Connection, found: Iterable[Integration]) -> dict[str, Stakes]:
    """Return what whoever knows an endpoint may start, by name; without those that take a credential."""
    opened: dict[str, Configurations] = {}
    for each in found:
        known = (each.current.configuration, *_published(each))
        if no_credential := [one for one in known if one.auth.type == "none"]:
            opened[each.name] = no_credential
    return of_each(connection, opened, started_by_watchers(connection) if opened else {})


def named_by_hash(connection: Connection, hash_: str, owner: UUID | None) -> list[str]:
    """Return the integrations that the next request of a hash may be of; ``owner`` is its first event, as
    Redis knows it. Of an integration that was deleted, nothing will run.
    """
    table, dedup, event = tables.integration, tables.dedup, tables.event
    names = select(table.c.name).where(
        or_(
            table.c.id.in_(select(dedup.c.integration_id).where(dedup.c.hash == hash_)),
            table.c.id.in_(select(event.c.integration_id).where(event.c.id == owner)),
        )
    )
    return list(connection.scalars(names))


def permit(connection: Connection, actor: Actor, find: Finds, name: str, *new: Configuration) -> Stakes:
    """Raise Forbidden unless an actor may start what ``find`` finds, such as :func:`of_integration`.

    Returns what they were asked about; nothing, where there was nothing to ask.
    """
    if actor.is_trusted:
        return Stakes()
    found = find(connection, name, *new)
    demand(actor, found)
    refused = lacking(actor, found)
    waits = pending.version_among(connection, name, refused) if refused else None
    if waits is not None:
        demand(actor, found.older[waits])
    return found


def permit_key(connection: Connection, actor: Actor, name: str) -> None:
    """Raise Forbidden unless an actor may start all that an API key of this name opens."""
    if not actor.is_trusted:
        demand_all(actor, f"API key {name!r}", of_credential(connection, "api_key", name))


def permit_hash(connection: Connection, actor: Actor, hash_: str, owner: UUID | None) -> None:
    """Raise Forbidden unless an actor may start what the next request of a hash does.

    Nothing is named: who may edit events need not be allowed to read configurations.
    """
    if actor.is_trusted:
        return
    for name in named_by_hash(connection, hash_, owner):
        try:
            permit(connection, actor, of_integration, name)
        except Forbidden:
            raise Forbidden(
                f"You may not start all that the next request of this hash starts. {ASK}"
            ) from None


def bind(connection: Connection, actor: Actor, found: Integration, version: Version, asked: Stakes) -> None:
    """Remember the teams that the DAGs of a version have when an actor publishes it who may trigger them.

    As they were ``asked``, by :func:`permit`. What is there already and remembers none, because Airflow had
    none, is bound along with it, as far as the actor may trigger it: its events wait for that.
    """
    if not teams.enabled():
        return
    kept = integrations.all_configurations(connection, found.id)
    forgetful = kept.keys() - integrations.read_teams(connection, kept).keys() - lacking(actor, asked)
    known = {each: kept[each] for each in forgetful | {version.id}}
    dags = {key: each.dags for key, each in known.items() if each is not None}
    if actor.is_trusted:
        there = teams.teams_of(connection, {dag_id for each in dags.values() for dag_id in each})
        bound = {key: {d: there.get(d, teams.ANY) for d in each} for key, each in dags.items()}
    else:
        bound = {key: _subset(asked.older.get(key, asked).teams, each) for key, each in dags.items()}
    for version_id, each in bound.items():
        integrations.remember_teams(connection, version_id, each)


def _subset(owners: teams.Teams | None, dag_ids: Iterable[str]) -> dict[str, str | None]:
    return {} if owners is None else {dag_id: owners[dag_id] for dag_id in dag_ids}


def _published(found: Integration) -> tuple[Configuration, ...]:
    return () if found.published is None else (found.published.configuration,)
