"""The receiver's OpenAPI document, and whether an answer is one that it describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import yaml
from jsonschema import Draft202012Validator

DOCUMENT: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[1] / "docs/openapi.yaml").read_text(encoding="utf-8")
)
ENDPOINT, TOKEN, HEALTH = "/{endpoint_id}", "/auth/token", "/health"


def resolve(part: Any) -> Any:
    """Return what a part of the document stands for."""
    while isinstance(part, dict) and "$ref" in part:
        found = DOCUMENT
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def check(answer: httpx.Response, path: str = ENDPOINT, method: str = "post") -> None:
    """Fail unless status, headers and body of an answer are as the document says."""
    responses = DOCUMENT["paths"][path][method]["responses"]
    told = f"{answer.status_code} {answer.text[:300]!r}"
    assert str(answer.status_code) in responses, told
    described = resolve(responses[str(answer.status_code)])
    for name, header in described.get("headers", {}).items():
        value = answer.headers.get(name)
        if value is None and not resolve(header).get("required"):
            continue
        schema = resolve(header)["schema"]
        number = schema.get("type") == "integer"
        assert value is not None, f"{told} lacks {name}"
        Draft202012Validator(schema).validate(int(value) if number else value)
    content = described.get("content")
    if content is None:
        assert answer.content == b"", told
        return
    media_type = answer.headers["content-type"]
    assert media_type in content, f"{told} is {media_type}"
    schema = {"$ref": content[media_type]["schema"]["$ref"], "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(answer.json())
    if media_type == "application/problem+json":
        assert answer.json()["status"] == answer.status_code
