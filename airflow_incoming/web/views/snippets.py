"""Commands and programs that send to an endpoint, ready to be pasted."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pprint import pformat
from urllib.parse import parse_qsl, urlencode

from airflow_incoming.core.errors import RequestRejected
from airflow_incoming.core.parameters import is_sensitive_header
from airflow_incoming.core.payload import parse_json
from airflow_incoming.core.records import Sample
from airflow_incoming.core.redaction import REDACTED

EXAMPLE = '{"order": {"id": 7}}'
#: A longer sample makes a command that nobody can read; the example takes its place.
MAX_PAYLOAD = 4000
EXAMPLE_VALUE = "example-1"
#: What a snippet, or the program that it is pasted to, sets by itself.
_OWN_HEADERS = frozenset({"content-type", "content-length", "host", "connection", "transfer-encoding"})
#: What stands where a secret goes, which nobody but its owner has.
YOUR_KEY = "paste your API key here"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where to send: the endpoint, and where an API key is exchanged for a JWT (None: open to all).

    ``headers`` and ``query`` are what deduplication looks at beside the body.
    """

    url: str
    token_url: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Return the endpoint's URL with the query."""
        return f"{self.url}?{urlencode(self.query)}" if self.query else self.url


def target(url: str, *, token_url: str | None, parameters: Sequence[str], sample: Sample | None) -> Target:
    """Return where to send, with the headers and query among the parameters of deduplication.

    Their values are the sample's; what it doesn't have, or what was redacted in it, gets an example.
    """
    sent_headers = {} if sample is None else _kept(sample.headers.items())
    sent_query = {} if sample is None else _kept(parse_qsl(sample.query))
    wanted = [parameter.partition(".")[::2] for parameter in parameters]
    return Target(
        url=url,
        token_url=token_url,
        headers={
            name: sent_headers.get(name) or EXAMPLE_VALUE
            for source, name in wanted
            if source == "header" and name and not is_sensitive_header(name) and name not in _OWN_HEADERS
        },
        query={name: sent_query.get(name, EXAMPLE_VALUE) for source, name in wanted if source == "query"},
    )


def _kept(values: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in values if REDACTED not in value}


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
        f"curl -sS -i -X POST {shlex.quote(target.address)} \\",
        *(['  -H "Authorization: Bearer $TOKEN" \\'] if target.token_url is not None else []),
        "  -H 'Content-Type: application/json' \\",
        *(f"  -H {shlex.quote(f'{name}: {value}')} \\" for name, value in target.headers.items()),
        f"  --data-raw {shlex.quote(payload)}",
    ]
    return "\n".join(lines)


def python(target: Target, payload: str) -> str:
    """Return a Python program without dependencies that does the same."""
    json_alone = '"Content-Type": "application/json"'
    headers = [json_alone, *(f"{_quoted(name)}: {_quoted(value)}" for name, value in target.headers.items())]
    lines = ["import json", "from urllib.request import Request, urlopen", ""]
    if target.token_url is not None:
        lines += [
            f"API_KEY = {_quoted(YOUR_KEY)}",
            "request = Request(",
            f"    {_quoted(target.token_url)},",
            '    data=json.dumps({"apiKey": API_KEY}).encode(),',
            f"    headers={{{json_alone}}},",
            ")",
            "with urlopen(request) as answer:",
            '    token = json.load(answer)["token"]',
            "",
        ]
        headers.append('"Authorization": f"Bearer {token}"')
    lines += [
        f"payload = {_literal(payload)}",
        "request = Request(",
        f"    {_quoted(target.address)},",
        "    data=json.dumps(payload).encode(),",
        f"    headers={{{', '.join(headers)}}},",
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
