"""``airflow incoming …``: what an administrator does, from the first file to the last event."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.cli.conftest import Shell

#: Far away, so that every event of the samples is in between.
SINCE_EVER = ("--since", "2000-01-01")
FILE = """\
version: 1
integrations:
- name: shop-orders
  state: published
  title: Shop orders
  auth:
    type: jwt
    api_key: shop-orders
  deduplication:
    parameters:
    - body.order.id
    window: 36h
    duplicate_status: 200
  dags:
  - one
  headers:
  - x-request-id
  limits:
    body: 64KiB
    rate: 50/s
"""


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"n{uuid.uuid4().hex[:12]}"


def test_the_help_names_all_commands_and_the_exit_codes(shell: Shell) -> None:
    """A person finds everything from ``airflow incoming --help``."""
    done = shell.run("--help")
    integrations = "apply export list show publish unpublish suspend resume delete"
    assert done.code == 0
    assert set(f"{integrations} keys events dedup serve dispatch check".split()) <= set(done.out.split())
    assert "exit codes" in done.out


def test_wrong_usage_ends_with_2(shell: Shell) -> None:
    """As of any command."""
    assert shell.run("apply").code == 2
    assert shell.run("list", "--output", "xml").code == 2
    assert shell.run("events", "list", "--state", "lost").code == 2


def test_apply_makes_what_files_declare_and_keeps_their_endpoints(shell: Shell, name: str) -> None:
    """Created, unchanged, updated: the address that senders know never changes."""
    declared: dict[str, Any] = {"name": name, "state": "published", "dags": ["one"]}
    (created,) = shell.apply(declared)
    assert (created["action"], created["name"], created["state"]) == ("created", name, "published")
    assert len(created["endpoint_id"]) == 26
    assert created["url"] == f"{shell.house.airflow.url}/incoming/{created['endpoint_id']}"
    assert shell.apply(declared)[0]["action"] == "unchanged"
    (updated,) = shell.apply({**declared, "title": "Orders"})
    assert (updated["action"], updated["endpoint_id"]) == ("updated", created["endpoint_id"])


def test_a_dry_run_changes_nothing(shell: Shell, name: str) -> None:
    """What isn't made yet has no address to show."""
    document = json.dumps({"version": 1, "integrations": [{"name": name}]})
    done = shell.run("apply", "--dry-run", "-", "--output", "json", stdin=document)
    (row,) = done.result
    assert (row["action"], row["endpoint_id"], row["url"]) == ("created", None, None)
    assert done.err == "Nothing was changed (--dry-run).\n"
    assert shell.run("show", name).code == 1


def test_apply_is_all_or_nothing_and_names_the_line(shell: Shell, name: str, tmp_path: Path) -> None:
    """A mistake in the last file, found only in the database, keeps the first file from being applied."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"version: 1\nintegrations:\n  - name: {name}\n")
    bad.write_text(
        f"version: 1\nintegrations:\n  - name: {name}-2\n    state: published\n"
        "    auth:\n      type: jwt\n      api_key: nobody\n"
    )
    done = shell.run("apply", str(good), str(bad))
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"error: {bad}:7: integrations[0].auth.api_key: there is no API key 'nobody'; "
        "make one with: airflow incoming keys create nobody\n"
    )
    assert shell.run("show", name).code == 1


def test_what_is_exported_can_be_applied_again(shell: Shell) -> None:
    """An export is as somebody would write it, and applying it changes nothing."""
    shell.result("keys", "create", "shop-orders")
    assert shell.result("apply", "-", stdin=FILE)[0]["action"] == "created"
    done = shell.run("export", "shop-orders")
    assert (done.code, done.out) == (0, FILE)
    assert shell.result("apply", "-", stdin=done.out)[0]["action"] == "unchanged"
    assert shell.result("export", "shop-orders") == yaml.safe_load(FILE)


def test_an_integration_is_listed_and_shown_with_its_configuration(shell: Shell, name: str) -> None:
    """``show`` is one mapping, ``list`` rows; both hold what clients are built on."""
    (made,) = shell.apply({"name": name, "state": "draft", "dags": ["one"]})
    shown = shell.result("show", name)
    (row,) = (row for row in shell.result("list") if row["name"] == name)
    for field in ("name", "state", "endpoint_id", "url"):
        assert shown[field] == row[field] == made[field]
    assert (shown["version"], shown["published_version"]) == (1, None)
    assert shown["configuration"]["dags"] == ["one"]
    assert yaml.safe_load(shell.run("show", name, "--output", "yaml").out) == shown


def test_an_integration_goes_through_its_states(shell: Shell, name: str) -> None:
    """Draft, published, suspended and back; a draft can't be suspended."""
    shell.apply({"name": name, "dags": ["one"]})
    refused = shell.run("suspend", name)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == f"error: '{name}' is a draft; only a published integration can be suspended.\n"
    steps = (
        ("publish", "published"),
        ("suspend", "suspended"),
        ("resume", "published"),
        ("unpublish", "draft"),
    )
    for verb, state in steps:
        assert shell.result(verb, name)[0]["state"] == state


def test_what_is_not_there_is_told(shell: Shell) -> None:
    """One sentence, and how to see what is there."""
    for verb in ("show", "publish", "unpublish", "suspend", "resume", "export"):
        done = shell.run(verb, "nobody")
        assert (done.code, done.out) == (1, ""), verb
        assert done.err == "error: There is no integration 'nobody'. List them with: airflow incoming list\n"


def test_deleting_asks_and_may_discard_what_waits(shell: Shell, name: str) -> None:
    """Nobody is there to be asked: nothing is deleted without --yes."""
    shell.apply({"name": name, "state": "published"})
    event = shell.receive(name)
    refused = shell.run("delete", name)
    assert (refused.code, refused.out) == (1, "")
    assert "--yes" in refused.err
    (row,) = shell.result("delete", name, "--yes", "--discard-pending")
    assert row == {"name": name, "action": "deleted", "discarded_events": 1}
    assert shell.run("show", name).code == 1
    assert shell.result("events", "show", event)["state"] == "dead"


def test_an_api_key_is_shown_once(shell: Shell, name: str) -> None:
    """Its name, its id and itself; no other command shows it, and a person is told so."""
    done = shell.run("keys", "create", name, "--expires", "90d", "--output", "json")
    assert set(done.result) == {"name", "key_id", "api_key"}
    assert done.result["api_key"].startswith(f"inc_{done.result['key_id']}_")
    assert done.result["api_key"] not in done.err
    assert "once" in done.err
    listed = shell.run("keys", "list", "--output", "json")
    (row,) = (row for row in listed.result if row["name"] == name)
    assert (row["state"], row["used_by"]) == ("active", [])
    assert row["expires_at"] is not None
    assert done.result["api_key"] not in listed.out


def test_a_key_is_rotated_and_revoked_and_tells_whom_that_hits(shell: Shell, name: str) -> None:
    """A rotated key keeps its id; who revokes one reads which integrations close."""
    first = shell.result("keys", "create", name)
    shell.apply({"name": name, "state": "published", "auth": {"type": "jwt", "api_key": name}})
    second = shell.result("keys", "rotate", name, "--overlap", "24h")
    assert second["key_id"] == first["key_id"]
    assert second["api_key"] != first["api_key"]
    refused = shell.run("keys", "revoke", name)
    assert (refused.code, refused.out) == (1, "")
    assert f"It opens {name}." in refused.err
    done = shell.run("keys", "revoke", name, "--yes", "--output", "json")
    assert done.result[0] | {"key_id": ""} == {
        "name": name,
        "key_id": "",
        "state": "revoked",
        "used_by": [name],
    }
    assert f"warning: requests to {name} are answered 401" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("keys", "create", "x", "--expires", "soon"), "--expires: must be a duration"),
        (("keys", "rotate", "x", "--overlap", "0d"), "--overlap: must be a duration"),
        (("keys", "create", "Not A Name"), "must be 1 to 63 of a-z"),
        (("events", "list", "--since", "soon"), "--since: write a time"),
        (("events", "list", "--limit", "0"), "--limit: must be between 1 and 10000"),
        (("events", "show", "7"), "'7' isn't an event id"),
        (("dedup", "forget", "7"), "a deduplication hash has 64 hexadecimal digits"),
    ],
)
def test_a_value_that_makes_no_sense_is_told(shell: Shell, words: tuple[str, ...], told: str) -> None:
    """With the option that it was given to."""
    done = shell.run(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {told}")


def test_events_are_found_by_what_one_knows_of_them(shell: Shell, name: str) -> None:
    """By integration, state, time and hash, newest first, page by page."""
    shell.apply({"name": name, "state": "published"})
    hash_ = uuid.uuid4().hex * 2
    first, second = shell.receive(name), shell.receive(name, hash_)

    def found(*criteria: str) -> list[str]:
        rows = shell.result("events", "list", "--integration", name, *criteria)
        return [row["event_id"] for row in rows]

    assert found() == [second, first]
    assert found("--hash", hash_) == [second]
    assert found("--limit", "1") == [second]
    assert found("--before", second) == [first]
    assert found("--state", "accepted", "--state", "dead") == [second, first]
    assert found("--state", "dead") == []
    assert found("--since", "2026-03-01T12:00:00Z", "--until", "2026-03-01T12:00:01Z") == [second, first]
    assert found("--until", "2026-03-01T13:00:00+01:00") == []
    assert found("--since", "366d ago", *SINCE_EVER) == [second, first]


def test_an_event_is_dispatched_shown_and_sent_once_more(shell: Shell, name: str) -> None:
    """An event that ran is copied, since an event runs once; the copy says of what."""
    shell.apply({"name": name, "state": "published", "dags": ["one"]})
    event = shell.receive(name)
    assert shell.result("dispatch", "--once")["dispatched"] >= 1
    shown = shell.result("events", "show", event)
    assert (shown["state"], shown["error"]) == ("dispatched", None)
    assert shown["run_ids"] == [f"incoming__{name}__{event}"]
    assert shown["conf"]["order.id"] == 7
    (replayed,) = shell.result("events", "replay", event)
    assert (replayed["event_id"], replayed["action"]) == (event, "copied")
    assert shell.result("events", "show", replayed["new_id"])["replay_of"] == event


def test_events_are_sent_once_more_by_state_and_never_all_of_them(shell: Shell, name: str) -> None:
    """Without a state, what ran already would run again: that has to be said."""
    shell.apply({"name": name, "state": "published", "dags": ["not-there"]})
    event = shell.receive(name)
    shell.result("dispatch", "--once")
    shown = shell.result("events", "show", event)
    assert shown["state"] in ("failed", "dead")
    assert "not-there" in shown["error"]
    chosen = ("--integration", name, "--state", "failed", "--state", "dead")
    for words in ((), ("--integration", name, "--yes"), (event, *chosen), chosen):
        refused = shell.run("events", "replay", *words)
        assert (refused.code, refused.out) == (1, ""), words
    (replayed,) = shell.result("events", "replay", *chosen, "--yes")
    assert replayed == {"event_id": event, "action": "requeued", "new_id": None}
    assert shell.result("events", "show", event)["state"] == "accepted"


def test_who_replays_as_many_as_were_asked_for_learns_that_there_may_be_more(shell: Shell, name: str) -> None:
    """A limit never hides that it was reached."""
    shell.apply({"name": name, "state": "published"})
    shell.receive(name)
    shell.receive(name)
    words = ("events", "replay", "--integration", name, "--state", "accepted", "--yes", "--limit")
    assert "there may be more" in shell.run(*words, "2").err
    assert "there may be more" not in shell.run(*words, "3").err


def test_a_hash_is_forgotten(shell: Shell, name: str) -> None:
    """Once; in capitals too, because people copy."""
    shell.apply({"name": name, "state": "published"})
    hash_ = uuid.uuid4().hex * 2
    shell.receive(name, hash_)
    assert shell.result("dedup", "forget", hash_.upper()) == [{"hash": hash_, "was_known": True}]
    assert shell.result("dedup", "forget", hash_) == [{"hash": hash_, "was_known": False}]


@pytest.mark.parametrize(("bridged", "paths"), [("True", ["", "/pluginsv2"]), ("False", [""])])
def test_check_says_which_addresses_receive(shell: Shell, bridged: str, paths: list[str]) -> None:
    """Whoever writes a proxy's rules has to know that there are two."""
    other = Shell(shell.house, AIRFLOW__INCOMING__FLASK_BLUEPRINT=bridged)
    try:
        rows = json.loads(other.run("check", "--output", "json").out)
    finally:
        other.close()
    (told,) = [row["detail"] for row in rows if "receive below" in row["detail"]]
    base = shell.house.airflow.url
    assert told.startswith(
        f"API servers receive below {' and '.join(f'{base}{path}/incoming' for path in paths)}, and"
    )


def test_check_looks_at_everything_and_fails_without_a_dispatcher(shell: Shell) -> None:
    """Rows of check, level and what to do; 1 because nothing starts DAGs here."""
    done = shell.run("check", "--output", "json")
    rows = json.loads(done.out)
    assert done.code == 1
    assert {"tables", "database durability", "fernet key", "redis", "dispatcher"} <= {
        row["check"] for row in rows
    }
    levels = {(row["check"], row["level"]) for row in rows}
    assert {("tables", "ok"), ("database durability", "warning"), ("dispatcher", "error")} <= levels
    assert all(row["detail"] for row in rows)
