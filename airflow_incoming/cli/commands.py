"""The commands as Airflow's parser wants them; loaded at every ``airflow`` call, so it imports nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

EPILOG = """exit codes: 0 done · 1 refused or failed (the reason is on standard error) ·
2 wrong usage · 3 the metadata database is unavailable or not migrated.
Standard output carries the result alone."""

OUTPUT = Arg(
    ("-o", "--output"),
    help="Format of the result (default: table)",
    choices=("table", "json", "yaml"),
    default="table",
)
NAME = Arg(("name",), help="Name of the integration")
KEY = Arg(("name",), help="Name of the API key")
YES = Arg(("-y", "--yes"), help="Do not ask for confirmation", action="store_true")


def get_commands() -> list[CLICommand]:
    """Return the ``incoming`` group."""
    return [
        GroupCommand(
            name="incoming",
            help="Webhooks: receive JSON from external systems and start DAGs",
            epilog=EPILOG,
            subcommands=(*_integrations(), *_groups(), *_processes()),
        )
    ]


def _command(name: str, handler: str, purpose: str, *args: Arg) -> ActionCommand:
    return ActionCommand(name=name, help=purpose, func=_load(handler), args=(*args, OUTPUT), epilog=EPILOG)


def _load(handler: str) -> Callable[..., Any]:
    load: Callable[..., Any] = lazy_load_command(f"airflow_incoming.cli.{handler}")
    return load


def _integrations() -> tuple[CLICommand, ...]:
    return (
        _command(
            "apply",
            "integrations.apply",
            "Make integrations as files declare them: all of them, or none",
            Arg(("files",), help="YAML files; - is standard input", nargs="+", metavar="FILE"),
            Arg(("--dry-run",), help="Show what would change, change nothing", action="store_true"),
        ),
        ActionCommand(
            name="export",
            help="Print integrations as a file that 'apply' takes",
            func=_load("integrations.export"),
            args=(
                Arg(("names",), help="Names of integrations (default: all)", nargs="*", metavar="NAME"),
                Arg(("-o", "--output"), help="Format", choices=("yaml", "json"), default="yaml"),
            ),
            epilog=EPILOG,
        ),
        _command("list", "integrations.list_", "List integrations"),
        _command("show", "integrations.show", "Show one integration", NAME),
        _command("publish", "integrations.publish", "Make the newest version live", NAME),
        _command("unpublish", "integrations.unpublish", "Take the endpoint offline: it answers 404", NAME),
        _command("suspend", "integrations.suspend", "Accept and hold events, start nothing", NAME),
        _command("resume", "integrations.resume", "Start what was held, and go on", NAME),
        _command(
            "delete",
            "integrations.delete",
            "Delete an integration; accepted events still run",
            NAME,
            Arg(("--discard-pending",), help="Events that didn't run yet become dead", action="store_true"),
            YES,
        ),
    )


def _groups() -> tuple[CLICommand, ...]:
    return (
        GroupCommand(name="keys", help="API keys that JWTs are made from", subcommands=_keys()),
        GroupCommand(name="events", help="Accepted requests", subcommands=_events()),
        GroupCommand(
            name="dedup",
            help="Deduplication hashes",
            subcommands=(
                _command(
                    "forget",
                    "events.forget",
                    "Forget a hash, so that the next request of it is accepted",
                    Arg(("hash",), help="64 hexadecimal digits, as 'events show' prints them"),
                ),
            ),
        ),
    )


def _keys() -> tuple[CLICommand, ...]:
    return (
        _command(
            "create",
            "keys.create",
            "Create an API key; it is shown once",
            KEY,
            Arg(("--expires",), help="Lifetime, such as 90d (default: none)", metavar="DURATION"),
        ),
        _command("list", "keys.list_", "List API keys"),
        _command(
            "rotate",
            "keys.rotate",
            "Give a key a new secret; the previous one works on for a while",
            KEY,
            Arg(("--overlap",), help="For how long (default: 1d)", metavar="DURATION", default="1d"),
        ),
        _command("revoke", "keys.revoke", "Close a key for good, within a second", KEY, YES),
        _command(
            "reencrypt",
            "keys.reencrypt",
            "Encrypt the secrets of all keys with the first key of [core] fernet_key",
        ),
    )


def _events() -> tuple[CLICommand, ...]:
    integration = Arg(("--integration",), help="Only of this integration", metavar="NAME")
    states = Arg(
        ("--state",),
        help="Only in this state (may be repeated)",
        action="append",
        choices=("accepted", "held", "dispatched", "failed", "dead"),
    )
    limit = Arg(("--limit",), help="At most so many (default: 50)", type=int, default=50)
    return (
        _command(
            "list",
            "events.list_",
            "List events, newest first",
            integration,
            states,
            Arg(("--since",), help="Received since: a time (ISO 8601) or a duration ago, such as 2h"),
            Arg(("--until",), help="Received until: a time or a duration ago"),
            Arg(("--hash",), help="Only of this deduplication hash", dest="dedup_hash"),
            Arg(("--before",), help="Only older than this event: the next page", metavar="EVENT_ID"),
            limit,
        ),
        _command("show", "events.show", "Show one event with everything", Arg(("event_id",), help="Its id")),
        _command(
            "replay",
            "events.replay",
            "Send events once more, by id or by --state (and --integration)",
            Arg(("event_ids",), help="Ids of events", nargs="*", metavar="EVENT_ID"),
            integration,
            states,
            limit,
            YES,
        ),
    )


def _processes() -> tuple[CLICommand, ...]:
    return (
        ActionCommand(
            name="serve",
            help="Run the receiver alone, on a port of its own",
            func=_load("run.serve"),
            args=(
                Arg(("--host",), help="Address to listen on (default: 127.0.0.1)", default="127.0.0.1"),
                Arg(("--port",), help="Port to listen on (default: 8081)", type=int, default=8081),
                Arg(("--workers",), help="Processes (default: 1)", type=int, default=1),
            ),
            epilog=EPILOG,
        ),
        _command(
            "dispatch",
            "run.dispatch",
            "Run a dispatcher: turn events into DAG runs",
            Arg(("--once",), help="Stop as soon as nothing is due", action="store_true"),
        ),
        _command("check", "check.check", "Say in plain words what is wrong with this installation"),
    )
