"""Puts load on a URL: with wrk, or with a client of our own where there is no wrk."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from benchmarks.bodies import MARK
from workbench.steps import Failed

HERE = Path(__file__).parent
#: Requests that a receiver knows already, where duplicates are sent.
POOL = 1000

Kind = Literal["new", "known", "half"]

#: Numbers of loads; each sends what no other has sent.
_runs = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one load met. Times in milliseconds; ``refused``: answers of 400 and more."""

    requests: int
    seconds: float
    p50: float
    p95: float
    p99: float
    refused: int
    broken: int

    @property
    def rate(self) -> float:
        """Requests a second that were answered as they should be."""
        return max(self.requests - self.refused, 0) / self.seconds


class Loader:
    """Makes loads; keeps what it sends in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        wrk = shutil.which("wrk")
        self.program = [wrk, "-t1", "--latency"] if wrk else [sys.executable, str(HERE / "client.py")]

    @property
    def name(self) -> str:
        return Path(self.program[0]).name if len(self.program) == 3 else "benchmarks/client.py"

    def run(
        self,
        url: str,
        body: bytes,
        *,
        kind: Kind,
        connections: int,
        seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> Load:
        """Send ``body`` for so many seconds, with other digits at its MARK each time."""
        head, tail = self._write(url, body, headers or {})
        arguments = [str(head), str(tail), kind, str(next(_runs)), str(POOL)]
        command = [*self.program, f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "10s"]
        if "wrk" in self.name:
            command += ["-s", str(HERE / "load.lua"), url, "--", *arguments]
        else:
            command += [url, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
        lines = [line for line in done.stdout.splitlines() if line.startswith('{"requests"')]
        if done.returncode or not lines:
            raise Failed(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
        return Load(**json.loads(lines[-1]))

    def _write(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[Path, Path]:
        parts = urlsplit(url)
        lines = [
            f"POST {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            "User-Agent: shop-webhooks/2.1",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        before, _, after = body.partition(MARK.encode())
        head, tail = self._folder / "head", self._folder / "tail"
        head.write_bytes("\r\n".join(lines).encode() + b"\r\n\r\n" + before)
        tail.write_bytes(after)
        return head, tail
