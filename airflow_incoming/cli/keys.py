"""``keys create|list|rotate|revoke|reencrypt``."""

from __future__ import annotations

from argparse import Namespace
from datetime import timedelta

from airflow_incoming import bootstrap
from airflow_incoming.cli.integrations import who
from airflow_incoming.cli.output import REFUSED, Failure, Result, command, confirm, note
from airflow_incoming.core.units import parse_duration
from airflow_incoming.services.keys import NewApiKey


@command
def create(args: Namespace) -> Result:
    """Create an API key."""
    expires = None if args.expires is None else _duration("--expires", args.expires)
    return _shown_once(bootstrap.key_manager().create(args.name, by=who(), expires_in=expires))


@command
def list_(_: Namespace) -> Result:
    """List API keys."""
    manager = bootstrap.key_manager()
    now = bootstrap.utcnow()
    return [
        {
            "name": key.name,
            "key_id": key.id,
            "state": key.state(now),
            "used_by": manager.users(key.name),
            "last_used_at": key.last_used_at,
            "expires_at": key.expires_at,
            "previous_secret_until": key.overlap_until,
            "created_at": key.created_at,
            "created_by": key.created_by,
        }
        for key in manager.list()
    ]


@command
def rotate(args: Namespace) -> Result:
    """Give a key a new secret."""
    overlap = _duration("--overlap", args.overlap)
    new = bootstrap.key_manager().rotate(args.name, by=who(), overlap=overlap)
    note(f"The previous secret of {args.name} and its tokens work on for {args.overlap}.")
    return _shown_once(new)


@command
def revoke(args: Namespace) -> Result:
    """Close a key for good."""
    manager = bootstrap.key_manager()
    users = manager.users(args.name)
    used = f"It opens {', '.join(users)}." if users else "No integration uses it."
    confirm(f"Revoke API key {args.name!r}? {used} Its tokens stop working within a second.", yes=args.yes)
    key = manager.revoke(args.name, by=who())
    if users:
        note(
            f"warning: requests to {', '.join(users)} are answered 401 until another API key is named there."
        )
    return [{"name": key.name, "key_id": key.id, "state": "revoked", "used_by": users}]


@command
def reencrypt(_: Namespace) -> Result:
    """Encrypt what belongs to API keys with the newest Fernet key."""
    done = bootstrap.key_manager().reencrypt(by=who())
    rows = [{"name": name, "state": "reencrypted" if ok else "unreadable"} for name, ok in done.items()]
    if all(done.values()):
        note("Older keys may now be removed from [core] fernet_key, after: airflow rotate-fernet-key")
        return rows
    note(
        "error: the secrets of some API keys were encrypted with a key that isn't in [core] fernet_key. "
        "Put it behind the others, separated by a comma, and repeat this; or rotate these API keys."
    )
    return Failure(rows, REFUSED)


def _duration(option: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error


def _shown_once(key: NewApiKey) -> Result:
    note("The API key is shown this once; keep it where your secrets are.")
    return {"name": key.name, "key_id": key.key_id, "api_key": key.api_key}
