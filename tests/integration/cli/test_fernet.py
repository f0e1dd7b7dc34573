"""Airflow's Fernet key: required for API keys, and rotated without anybody noticing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from cryptography.fernet import Fernet

from airflow_incoming.core.tokens import generate_api_key
from airflow_incoming.db.engine import make_engine, transaction
from airflow_incoming.stores import keys
from tests.house import Builder, House
from tests.integration.cli.conftest import Shell
from workbench.processes import Processes


class Cipher:
    """As a process encrypts that knows one Fernet key."""

    def __init__(self, key: str) -> None:
        self.fernet = Fernet(key)

    def encrypt(self, secret: bytes) -> str:
        return self.fernet.encrypt(secret).decode()


@contextmanager
def shell_with(house: House, fernet_key: str) -> Iterator[Shell]:
    shell = Shell(house, AIRFLOW__CORE__FERNET_KEY=fernet_key)
    try:
        yield shell
    finally:
        shell.close()


def make_key(house: House, name: str, fernet_key: str) -> bytes:
    """Store an API key; return its signing secret."""
    engine = make_engine(house.airflow.database)
    material = generate_api_key()
    options = {"expires_at": None, "now": datetime.now(timezone.utc), "by": "test"}
    with transaction(engine) as connection:
        keys.create(connection, name, material, Cipher(fernet_key), **options)
    engine.dispose()
    return material.signing_secret


def finding(shell: Shell) -> tuple[str, str]:
    rows = json.loads(shell.run("check", "--output", "json").out)
    (found,) = [row for row in rows if row["check"] == "fernet key"]
    return found["level"], found["detail"]


def test_the_fernet_key_is_rotated(builder: Builder) -> None:
    """The new key in front of the old one, reencrypt, and the old one may go; a lost one is told."""
    house = builder.build(Processes())
    old, new = house.airflow.env["AIRFLOW__CORE__FERNET_KEY"], Fernet.generate_key().decode()
    secret = make_key(house, "shop", old)
    with shell_with(house, f"{new},{old}") as shell:
        level, detail = finding(shell)
        assert level == "warning"
        assert "airflow incoming keys reencrypt" in detail
        done = shell.run("keys", "reencrypt", "--output", "json")
        assert done.result == [{"name": "shop", "state": "reencrypted"}]
        assert "airflow rotate-fernet-key" in done.err
        assert finding(shell)[0] == "ok"
        ((stored,),) = house.sql("select signing_secret from incoming_api_key_secret")
        assert Fernet(new).decrypt(stored.encode()) == secret

        make_key(house, "lost", Fernet.generate_key().decode())
        assert finding(shell)[0] == "error"
        refused = shell.run("keys", "reencrypt", "--output", "json")
        assert refused.code == 1
        assert {row["name"]: row["state"] for row in json.loads(refused.out)} == {
            "lost": "unreadable",
            "shop": "reencrypted",
        }
        assert "Put it behind the others" in refused.err


def test_no_api_key_without_a_fernet_key(house: House) -> None:
    """The sentence says which option of which section, and nothing is stored."""
    with shell_with(house, "") as shell:
        refused = shell.run("keys", "create", "unprotected", "--output", "json")
        assert (refused.code, refused.out) == (1, "")
        assert "[core] fernet_key, and that is empty" in refused.err
        assert "Traceback" not in refused.err
        level, detail = finding(shell)
        assert level == "warning"
        assert "is empty" in detail
    assert house.sql("select count(*) from incoming_api_key where name = 'unprotected'")[0][0] == 0
