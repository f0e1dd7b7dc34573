"""Commands and programs that send to an endpoint, ready to be pasted."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pprint import pformat

from airflow_incoming.core.errors import RequestRejected
from airflow_incoming.core.payload import parse_json

EXAMPLE = '{"order": {"id": 7}}'
#: A longer sample makes a command that nobody can read; the example takes its place.
MAX_PAYLOAD = 4000
#: What stands where a secret goes, which nobody but its owner has.
YOUR_KEY = "paste your API key here"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where to send: the endpoint, and where an API key is exchanged for a JWT (None: open to all)."""

    url: str
    token_url: str | None


def payload_of(sample: str | None) -> str:
    """Return the JSON to send: the sample's, where there is one that isn't too long."""
    return sample if sample and len(sample) <= MAX_PAYLOAD else EXAMPLE


def curl(target: Target, payload: str) -> str:
    """Return shell commands that send the payload, and print status and answer."""
    lines = []
    if target.token_url is not None:
        lines = [
            f"API_KEY={shlex.quote(YOUR_KEY)}",
            f"TOKEN=$(curl -sS -X POST {shlex.quote(target.token_url)} \\",
            "  -H 'Content-Type: application/json' \\",
            '  --data-raw "{\\"apiKey\\": \\"$API_KEY\\"}" \\',
            """  | sed -n 's/.*"token": "\\([^"]*\\)".*/\\1/p')""",
        ]
    lines += [
        f"curl -sS -i -X POST {shlex.quote(target.url)} \\",
        *(['  -H "Authorization: Bearer $TOKEN" \\'] if target.token_url is not None else []),
        "  -H 'Content-Type: application/json' \\",
        f"  --data-raw {shlex.quote(payload)}",
    ]
    return "\n".join(lines)


def python(target: Target, payload: str) -> str:
    """Return a Python program without dependencies that does the same."""
    headers = '{"Content-Type": "application/json"}'
    lines = ["import json", "from urllib.request import Request, urlopen", ""]
    if target.token_url is not None:
        lines += [
            f"API_KEY = {_quoted(YOUR_KEY)}",
            "request = Request(",
            f"    {_quoted(target.token_url)},",
            '    data=json.dumps({"apiKey": API_KEY}).encode(),',
            f"    headers={headers},",
            ")",
            "with urlopen(request) as answer:",
            '    token = json.load(answer)["token"]',
            "",
        ]
        headers = '{"Content-Type": "application/json", "Authorization": f"Bearer {token}"}'
    lines += [
        f"payload = {_literal(payload)}",
        "request = Request(",
        f"    {_quoted(target.url)},",
        "    data=json.dumps(payload).encode(),",
        f"    headers={headers},",
        ")",
        "with urlopen(request) as answer:",
        "    print(answer.status, answer.read().decode())",
    ]
    return "\n".join(lines)


def _literal(payload: str) -> str:
    try:
        return pformat(parse_json(payload.encode()), width=100, sort_dicts=False)
    except RequestRejected:
        return f"json.loads({payload!r})"


def _quoted(text: str) -> str:
    return json.dumps(text)
