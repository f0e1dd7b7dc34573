"""A house that strangers besiege: three receivers behind a proxy that they believe, and who has its keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import resource
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet
from sqlalchemy import Engine

from airflow_incoming.core.integration import parse_declaration
from airflow_incoming.db.engine import make_engine, reading
from airflow_incoming.services.checks import Bounds
from airflow_incoming.services.keys import KeyManager
from airflow_incoming.services.manage import Manager
from airflow_incoming.services.rights import Trusted
from airflow_incoming.stores import keys
from tests.house import JSON, House
from workbench.processes import Process

NATIVE, FLASK, SERVE = 0, 1, 2
RECEIVERS = {"native": NATIVE, "flask": FLASK, "serve": SERVE}
#: Seconds in which the body of a request must have arrived.
BODY_TIMEOUT = 3
#: Files that the api-server may have open: what a service of systemd or a login may, unless told otherwise.
FILES = 1024
OPTIONS = {
    "incoming.trusted_proxies": "127.0.0.1",
    "incoming.body_timeout": f"{BODY_TIMEOUT}s",
    "incoming.auth_failure_rate": "200/m",
    "incoming.token_rate": "20/m",
}
GOOD = "198.51.100.1"
Headers = Sequence[tuple[str, str]]


class HouseCipher:
    """Encrypts as the house's processes do."""

    def __init__(self, key: str) -> None:
        self._fernet = Fernet(key)

    def encrypt(self, secret: bytes) -> str:
        return self._fernet.encrypt(secret).decode()

    def decrypt(self, encrypted: str) -> bytes:
        return self._fernet.decrypt(encrypted)


@dataclass
class Siege:
    """The house, its administrator (in this process, which is quicker), and a proxy's connections to it."""

    house: House
    engine: Engine
    servers: list[Process]
    cipher: HouseCipher
    http: httpx.Client
    api_keys: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def manager(self) -> Manager:
        return Manager(self.engine, clock=now, bounds=Bounds(max_body=2**20))

    @property
    def keys(self) -> KeyManager:
        return KeyManager(self.engine, self.cipher, clock=now)  # type: ignore[arg-type]

    def apply(self, *declarations: Mapping[str, Any]) -> None:
        parsed = [parse_declaration({"state": "published", "dags": ["one"], **each}) for each in declarations]
        for change in self.manager.apply(parsed, by=Trusted("test")):
            self.house.endpoints[change.integration.name] = change.integration.endpoint_id

    def make_key(self, name: str) -> None:
        self.api_keys[name] = self.keys.create(name, by=Trusted("test")).api_key

    def secret(self, name: str) -> bytes:
        """Return the newest signing secret of a key: what no stranger has."""
        with reading(self.engine) as connection:
            (found,) = [each for each in keys.read_usable(connection, self.cipher) if each.name == name]  # type: ignore[arg-type]
        return found.secrets[-1].live.secret

    def send(
        self,
        receiver: int,
        integration: str,
        body: bytes | Iterator[bytes] = b'{"a": 1}',
        headers: Headers = (),
        *,
        address: str = GOOD,
        query: str = "",
    ) -> httpx.Response:
        """POST as a client at ``address`` does through the proxy."""
        names = {name.lower() for name, _ in headers}
        default = [] if "content-type" in names else list(JSON.items())
        every = [*default, *headers, ("X-Forwarded-For", address)]
        return self.http.post(self.house.url(integration, receiver) + query, content=body, headers=every)

    def ask_token(self, receiver: int, api_key: str, *, address: str = GOOD) -> httpx.Response:
        return self.http.post(
            f"{self.house.receive[receiver]}/auth/token",
            json={"apiKey": api_key},
            headers={"X-Forwarded-For": address},
        )

    def events(self, integration: str) -> dict[str, str]:
        """Return the bodies of all stored events of an integration, by id."""
        rows = self.house.sql(
            "select e.id, e.body from incoming_event e join incoming_integration i"
            " on i.id = e.integration_id where i.name = :name",
            name=integration,
        )
        return {str(event_id): body for event_id, body in rows}

    def rss(self, server: int) -> int:
        """Return the resident memory in bytes of a server and all that it started."""
        return sum(resident(pid) for pid in group(self.servers[server].pid))

    @contextmanager
    def wire(self, receiver: int) -> Iterator[socket.socket]:
        """Open a raw connection."""
        url = httpx.URL(self.house.receive[receiver])
        with closing(socket.create_connection((url.host, url.port or 80), timeout=20)) as connection:
            yield connection

    def head(self, receiver: int, integration: str, *lines: bytes, target: bytes = b"") -> bytes:
        """Return the beginning of a raw POST, without the empty line that ends it."""
        path = httpx.URL(self.house.url(integration, receiver)).raw_path
        return b"\r\n".join([b"POST " + path + target + b" HTTP/1.1", b"Host: x", *lines]) + b"\r\n"

    def speak(self, receiver: int, *parts: bytes, more: bool = False) -> bytes:
        """Send bytes that no client would, and return what is answered, until that is whole.

        A server that waits for the rest is waited for until it gives up. ``more``: and what comes behind
        a whole answer.
        """
        answered = b""
        with self.wire(receiver) as connection, suppress(OSError):
            connection.settimeout(BODY_TIMEOUT + 1.5)
            connection.sendall(b"".join(parts))
            while not _is_whole(answered) and (block := connection.recv(65536)):
                answered += block
            connection.settimeout(0.5)
            while more and (block := connection.recv(65536)):
                answered += block
        return answered


def _is_whole(answered: bytes) -> bool:
    """Tell whether bytes are a whole answer, an interim one aside."""
    head, end, body = answered.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return _is_whole(body)
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    if length is None:  # chunked, or a 204
        return bool(end) and (b" 204 " in head[:20] or body.endswith(b"0\r\n\r\n"))
    return len(body) >= int(length[1])


def parsed(answered: bytes) -> httpx.Response | None:
    """Return the first answer in bytes; None where there is none."""
    while answered.startswith(b"HTTP/1.1 100"):
        answered = answered.partition(b"\r\n\r\n")[2]
    if not answered:
        return None
    head, _, body = answered.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = [tuple(line.split(b": ", 1)) for line in lines]
    if (b"transfer-encoding", b"chunked") in headers:
        size, _, body = body.partition(b"\r\n")
        body = body[: int(size, 16)]
        headers.remove((b"transfer-encoding", b"chunked"))
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)  # type: ignore[arg-type]


@contextmanager
def files(most: int) -> Iterator[None]:
    """Let what is started inside the block have so many files open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def open_siege(house: House) -> Siege:
    """Return the house with its servers started, keys made and integrations published."""
    engine = make_engine(house.airflow.database)
    cipher = HouseCipher(house.airflow.env["AIRFLOW__CORE__FERNET_KEY"])
    siege = Siege(house, engine, [], cipher, httpx.Client(timeout=30))
    for name in ("shop", "other", "revoked", "rotated"):
        siege.make_key(name)
    siege.apply(
        {"name": "open"},
        {"name": "fuzzed"},
        {"name": "rated", "limits": {"rate": "7/h"}},
        *({"name": name, "auth": {"type": "jwt", "api_key": name}} for name in siege.api_keys),
    )
    with files(FILES):
        siege.servers = [house.api_server()]
    siege.servers.append(house.serve())
    house.receive.insert(FLASK, f"{house.airflow.url}/pluginsv2/incoming")
    for name, api_key in siege.api_keys.items():
        siege.tokens[name] = siege.ask_token(NATIVE, api_key).json()["token"]
    return siege


def now() -> datetime:
    return datetime.now(timezone.utc)


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def sign(header: Any, claims: Any, secret: bytes, digest: Any = hashlib.sha256) -> str:
    """Return a JWT of anything, signed with anything."""
    signed = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{encode(hmac.new(secret, signed.encode(), digest).digest())}"


def decoded(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a JWT."""
    header, claims = (base64.urlsafe_b64decode(part + "==") for part in token.split(".")[:2])
    return json.loads(header), json.loads(claims)


def bad_tokens(siege: Siege) -> Iterator[tuple[str, str]]:
    """Yield what RFC 8725 warns of, by name: made by a stranger, or by whoever had the right secret."""
    good, secret = siege.tokens["shop"], siege.secret("shop")
    header, claims = decoded(good)
    parts = good.split(".")
    issued = claims["iat"]
    for alg in ("none", "None", "NONE", ""):
        yield (
            f"alg {alg!r}, no signature",
            f"{encode(json.dumps(header | {'alg': alg}).encode())}.{parts[1]}.",
        )
        yield f"alg {alg!r}, signed", sign(header | {"alg": alg}, claims, secret)
    yield "empty signature", f"{parts[0]}.{parts[1]}."
    yield "signature of zeros", f"{parts[0]}.{parts[1]}.{'A' * 43}"
    yield "another algorithm", sign(header | {"alg": "HS512"}, claims, secret, hashlib.sha512)
    yield "an asymmetric algorithm", sign(header | {"alg": "RS256"}, claims, secret)
    for what, guessed in {
        "nothing": b"",
        "the API key": siege.api_keys["shop"].encode(),
        "its hash": hashlib.sha256(siege.api_keys["shop"].encode()).digest(),
        "the key's id": header["kid"].encode(),
        "Airflow's own secret": siege.house.airflow.env["AIRFLOW__API_AUTH__JWT_SECRET"].encode(),
        "another key's secret": siege.secret("other"),
    }.items():
        yield f"signed with {what}", sign(header, claims, guessed)
    other = decoded(siege.tokens["other"])[0]["kid"]
    for kid in (
        other,
        "../../../../dev/null",
        "x' or '1'='1",
        "",
        None,
        f"{header['kid']}\n",
        [header["kid"]],
    ):
        yield (
            f"kid {kid!r}",
            sign(header | {"kid": kid}, claims, b"" if kid != other else siege.secret("other")),
        )
    own = {"kty": "oct", "k": encode(b"k" * 32)}
    for name, value in {
        "jwk": own,
        "jku": "http://127.0.0.1:1/jwks.json",
        "x5u": "http://127.0.0.1:1/cert.pem",
        "x5c": ["MIIB"],
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
    }.items():
        yield f"{name}, the stranger's secret", sign(header | {name: value}, claims, b"k" * 32)
        yield f"{name}, the right secret", sign(header | {name: value}, claims, secret)
    yield "typ JWT", sign(header | {"typ": "JWT"}, claims, secret)
    for name in claims:
        rest = {other: value for other, value in claims.items() if other != name}
        yield f"no {name}", sign(header, rest, secret)
    for name, value in (
        ("exp", 2**62),
        ("exp", float("inf")),
        ("exp", float("nan")),
        ("exp", str(claims["exp"])),
        ("exp", issued - 60),
        ("exp", issued + 10 * 366 * 86400),
        ("iat", issued + 3600),
        ("nbf", issued + 3600),
        ("aud", "airflow"),
        ("aud", [claims["aud"], "airflow"]),
        ("iss", "airflow"),
        ("sub", other),
        ("sub", None),
        ("jti", ""),
    ):
        yield f"{name} {value!r}"[:60], sign(header, claims | {name: value}, secret)
    for what, token in {
        "padding": good + "=",
        "more padding": good + "==",
        "a newline's code": good + "%0A",
        "a quote": f'"{good}"',
        "the other alphabet": good[:-10] + "+" + good[-9:],
        "a fourth part": good + "." + parts[2],
        "unused bits": good[:-1] + chr(ord(good[-1]) + 1),
        "a cut": good[:-2],
        "as JSON": json.dumps({"protected": parts[0], "payload": parts[1], "signature": parts[2]}),
        "5 KiB": sign(header, claims | {"jti": "x" * 5000}, secret),
        "one API key for another": siege.tokens["other"],
        "an API key itself": siege.api_keys["shop"],
        "Airflow's own": siege.house.airflow.token(),
    }.items():
        yield what, token


def resident(pid: int) -> int:
    """Return VmRSS in bytes; 0 for what has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0)


def group(leader: int) -> list[int]:
    """Return the processes of a process group."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,pgid="], capture_output=True, text=True, check=True)
    pairs = (line.split() for line in listed.stdout.splitlines())
    return [int(pid) for pid, pgid in pairs if int(pgid) == leader]


LATER = timedelta(seconds=1.5)  # a change is known everywhere after a second
