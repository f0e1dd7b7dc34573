"""One migrated Airflow on SQLite, and a shell for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_incoming.db.engine import make_engine
from tests.contract.samples import make_event
from tests.house import Builder, House
from workbench.processes import Processes

SHELL = Path(__file__).with_name("shell.py")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


class Shell:
    """Runs ``airflow incoming …`` as one would, quickly."""

    def __init__(self, house: House, **env: str) -> None:
        self.house = house
        self.process = subprocess.Popen(
            [sys.executable, str(SHELL)],
            env=house.airflow.env | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *argv: str, stdin: str = "") -> Done:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"argv": ["incoming", *argv], "stdin": stdin}) + "\n")
        self.process.stdin.flush()
        return Done(**json.loads(self.process.stdout.readline()))

    def result(self, *argv: str, stdin: str = "") -> Any:
        return self.run(*argv, "--output", "json", stdin=stdin).result

    def apply(self, *integrations: dict[str, Any]) -> list[dict[str, Any]]:
        document = json.dumps({"version": 1, "integrations": integrations})
        rows: list[dict[str, Any]] = self.result("apply", "-", stdin=document)
        return rows

    def receive(self, name: str, hash_: str | None = None) -> str:
        """Store an event as a receiver does; return its id."""
        from dataclasses import replace

        from airflow_incoming.core.messages import Event
        from airflow_incoming.stores import integrations
        from airflow_incoming.stores.inbox import Inbox

        engine = make_engine(self.house.airflow.database)
        with engine.connect() as connection:
            found = integrations.find(connection, name)
        assert found is not None
        event: Event = replace(
            make_event(hash_, integration_id=found.id, version_id=found.current.id), integration=name
        )
        Inbox(engine).append([event], now=event.received_at)
        engine.dispose()
        return str(event.id)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture(scope="package")
def house(builder: Builder) -> House:
    return builder.build(Processes())


@pytest.fixture(scope="package")
def shell(house: House) -> Iterator[Shell]:
    shell = Shell(house)
    yield shell
    shell.close()
