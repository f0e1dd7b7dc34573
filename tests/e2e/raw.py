"""Requests as bytes, and what comes back: whatever a client library would refuse to send, or hide."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

import httpx

#: Seconds between two segments, so that the server reads the first by itself.
PAUSE = 0.02
#: Seconds that an answer may take; a body that never comes is given up before.
PATIENCE = 8.0
#: Asks whether the connection is still good, and ends it.
SENTINEL = b"PURGE /incoming/health HTTP/1.1\r\nHost: sentinel\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """One answer, its headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Spoken:
    """All answers on one connection, and whether it was good for another request then."""

    answers: list[Answer] = field(default_factory=list)
    kept: bool = False


def speak(base: str, segments: Sequence[bytes], *, head: bool = False, ends: bool = True) -> Spoken:
    """Send bytes to a receiver's server; return what it answers.

    ``head``: answers have no body. Without ``ends`` the request isn't whole, so nothing may follow it.
    """
    url = httpx.URL(base)
    spoken = Spoken()
    with closing(socket.create_connection((url.host, url.port or 80), timeout=PATIENCE)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = _Stream(wire)
        with suppress(OSError):
            for number, segment in enumerate(segments):
                time.sleep(PAUSE if number else 0)
                wire.sendall(segment)
        with suppress(EOFError, OSError):
            spoken.answers.append(stream.answer(head=head))
            if ends:
                with suppress(OSError):
                    time.sleep(PAUSE)
                    wire.sendall(SENTINEL)
            while True:
                spoken.answers.append(stream.answer(head=False))
    if ends and len(spoken.answers) > 1 and _is_sentinels(spoken.answers[-1]):
        spoken.answers.pop()
        spoken.kept = True
    return spoken


def _is_sentinels(answer: Answer) -> bool:
    return answer.status in (404, 405) and answer.headers.get("connection") == "close"


class _Stream:
    """Reads answers from a connection. Raises EOFError at its end."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._data = b""

    def answer(self, *, head: bool) -> Answer:
        while True:
            lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(lines[0].split()[1])
            if status >= 200:
                break
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = b"" if head or status == 204 else self._body(headers)
        return Answer(status, headers, gzip.decompress(body) if "content-encoding" in headers else body)

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            return self._chunks()
        return self._exactly(int(headers.get("content-length", "0")))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size)
            self._exactly(2)
        self._exactly(2)
        return body

    def _until(self, end: bytes) -> bytes:
        while end not in self._data:
            self._more()
        found, _, self._data = self._data.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            self._more()
        found, self._data = self._data[:size], self._data[size:]
        return found

    def _more(self) -> None:
        block = self._wire.recv(65536)
        if not block:
            raise EOFError
        self._data += block
