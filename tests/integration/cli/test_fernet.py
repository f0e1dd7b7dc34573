"""Airflow's Fernet key: required for API keys, and rotated without anybody noticing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography.fernet import Fernet

from tests.house import House
from tests.integration.cli.conftest import Shell


@contextmanager
def shell_with(house: House, fernet_key: str) -> Iterator[Shell]:
    shell = Shell(house, AIRFLOW__CORE__FERNET_KEY=fernet_key)
    try:
        yield shell
    finally:
        shell.close()


def secret_of(house: House, name: str, fernet_key: str) -> bytes:
    """Return a key's signing secret, out of the database, with one Fernet key alone."""
    ((encrypted,),) = house.sql(
        "select s.signing_secret from incoming_api_key_secret s join incoming_api_key k on k.id = s.key_id"
        " where k.name = :name",
        name=name,
    )
    return Fernet(fernet_key).decrypt(encrypted.encode())


def finding(shell: Shell) -> tuple[str, str]:
    import json

    rows = json.loads(shell.run("check", "--output", "json").out)
    (found,) = [row for row in rows if row["check"] == "fernet key"]
    return found["level"], found["detail"]


def test_the_fernet_key_is_rotated(house: House, shell: Shell) -> None:
    """The new key in front of the old one, reencrypt, and the old one may go."""
    shell.result("keys", "create", "rotated")
    old, new = house.airflow.env["AIRFLOW__CORE__FERNET_KEY"], Fernet.generate_key().decode()
    secret = secret_of(house, "rotated", old)
    with shell_with(house, new) as without_old:
        level, detail = finding(without_old)
        assert level == "error"
        assert "rotated" in detail
        refused = without_old.run("keys", "reencrypt", "--output", "json")
        assert refused.code == 1
        assert '"state": "unreadable"' in refused.out
        assert "Put it behind the others" in refused.err
    assert secret_of(house, "rotated", old) == secret
    with shell_with(house, f"{new},{old}") as both:
        level, detail = finding(both)
        assert level == "warning"
        assert "airflow incoming keys reencrypt" in detail
        states = {row["name"]: row["state"] for row in both.result("keys", "reencrypt")}
        assert states["rotated"] == "reencrypted"
        assert finding(both)[0] == "ok"
        assert secret_of(house, "rotated", new) == secret
    # Back again, for the tests that follow.
    with shell_with(house, f"{old},{new}") as back:
        back.result("keys", "reencrypt")
        back.run("keys", "revoke", "rotated", "--yes")


@pytest.mark.parametrize(("fernet_key", "why"), [("", "is empty"), ("not a key", "isn't usable")])
def test_no_api_key_without_a_fernet_key(house: House, fernet_key: str, why: str) -> None:
    """The sentence says which option of which section, and nothing is stored."""
    with shell_with(house, fernet_key) as shell:
        refused = shell.run("keys", "create", "unprotected", "--output", "json")
        assert (refused.code, refused.out) == (1, "")
        assert "[core] fernet_key" in refused.err
        assert why in refused.err
        assert "Traceback" not in refused.err
        level, detail = finding(shell)
        assert level == "warning"
        assert why in detail
    assert house.sql("select count(*) from incoming_api_key where name = 'unprotected'") == [(0,)]
