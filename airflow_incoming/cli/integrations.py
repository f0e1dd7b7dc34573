"""``apply``, ``export``, ``list``, ``show`` and the states of integrations."""

from __future__ import annotations

import getpass
from argparse import Namespace
from typing import Any

from airflow_incoming import bootstrap
from airflow_incoming.cli.files import Files
from airflow_incoming.cli.output import Result, command, confirm, note
from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.integration import (
    Configuration,
    Declaration,
    configuration_to_dict,
    declaration_to_dict,
)
from airflow_incoming.core.records import Integration
from airflow_incoming.services.rights import Trusted


def who() -> Trusted:
    """Return who runs this command: somebody who may do everything."""
    try:
        return Trusted(f"cli:{getpass.getuser()}")
    except (KeyError, OSError):  # a user id without a name
        return Trusted("cli")


@command
def apply(args: Namespace) -> Result:
    """Make integrations as files declare them."""
    files = Files(args.files)
    try:
        changes = bootstrap.manager().apply(files.declarations, by=who(), dry_run=args.dry_run)
    except InvalidConfiguration as error:
        raise files.locate(error) from error
    if args.dry_run:
        note("Nothing was changed (--dry-run).")
    for change in changes:
        found = change.integration.current.configuration
        if change.integration.state != "draft" and not (found.dags or found.assets):
            name = change.integration.name
            note(f"warning: {name} is published and starts nothing by itself: no dags, no assets")
        _tell_missing(found)
    kept = ("endpoint_id", "url")
    rows = [{"action": change.action, **_row(change.integration)} for change in changes]
    return [row | dict.fromkeys(kept) if args.dry_run and row["action"] == "created" else row for row in rows]


@command
def export(args: Namespace) -> Result:
    """Print integrations as a file."""
    found = bootstrap.manager().list(args.names or None)
    for integration in found:
        if integration.has_unpublished_changes:
            note(f"warning: {integration.name} has unpublished changes; applying this file publishes them.")
    return {"version": 1, "integrations": [_compact(integration) for integration in found]}


@command
def list_(_: Namespace) -> Result:
    """List integrations."""
    return [_row(integration) for integration in bootstrap.manager().list()]


@command
def show(args: Namespace) -> Result:
    """Show one integration."""
    found = bootstrap.manager().show(args.name)
    published = found.published
    return _row(found) | {
        "version": found.current.number,
        "published_version": None if published is None else published.number,
        "saved_by": found.current.created_by,
        "created_at": found.created_at,
        "configuration": configuration_to_dict(found.current.configuration),
    }


@command
def publish(args: Namespace) -> Result:
    """Make the newest version live."""
    published = bootstrap.manager().publish(args.name, by=who())
    _tell_missing(published.current.configuration)
    return [_row(published)]


@command
def unpublish(args: Namespace) -> Result:
    """Take the endpoint offline."""
    return [_row(bootstrap.manager().unpublish(args.name, by=who()))]


@command
def suspend(args: Namespace) -> Result:
    """Accept and hold events."""
    return [_row(bootstrap.manager().suspend(args.name, by=who()))]


@command
def resume(args: Namespace) -> Result:
    """Start what was held."""
    return [_row(bootstrap.manager().resume(args.name, by=who()))]


@command
def delete(args: Namespace) -> Result:
    """Delete an integration."""
    manager = bootstrap.manager()
    manager.show(args.name)
    confirm(f"Delete integration {args.name!r}? Its URL will answer 404 for ever.", yes=args.yes)
    discarded = manager.delete(args.name, by=who(), discard_pending=args.discard_pending)
    return [{"name": args.name, "action": "deleted", "discarded_events": discarded}]


def _tell_missing(configuration: Configuration) -> None:
    for dag_id in bootstrap.manager().missing_dags(configuration):
        note(f"warning: DAG {dag_id} isn't there yet; events start it whichever team deploys it")


def _row(integration: Integration) -> dict[str, Any]:
    live = integration.published or integration.current
    return {
        "name": integration.name,
        "state": integration.state,
        "endpoint_id": integration.endpoint_id,
        "url": f"{bootstrap.base_url()}/{integration.endpoint_id}",
        "auth": live.configuration.auth.type,
        "dags": list(live.configuration.dags),
        "assets": list(live.configuration.assets),
        "unpublished_changes": integration.has_unpublished_changes,
        "updated_at": integration.updated_at,
    }


def _compact(integration: Integration) -> dict[str, Any]:
    """Return an integration as one would write it: what is as it is anyway is left out."""
    declaration = Declaration(
        name=integration.name,
        state=integration.state,
        configuration=integration.current.configuration,
    )
    defaults = configuration_to_dict(Configuration())
    shape = declaration_to_dict(declaration)
    return {
        name: value
        for name, value in shape.items()
        if name in ("name", "state", "auth") or defaults.get(name) != value
    }
