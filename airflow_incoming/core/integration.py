"""Integrations as values: what an administrator may declare, validated, to and from the YAML shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, cast

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.fields import Fields, Path, a_list, choice, text
from airflow_incoming.core.parameters import (
    MAX_DEDUPLICATION_PARAMETERS,
    is_sensitive_header,
    validate_parameter,
)
from airflow_incoming.core.units import (
    Rate,
    format_duration,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)

State = Literal["published", "draft", "suspended"]

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
DAG_ID = re.compile(r"[\w.-]{1,250}")
DEFAULT_WINDOW = timedelta(days=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Auth:
    """How a request proves who sent it: not at all, or by a JWT made from the named API key."""

    type: Literal["none", "jwt"] = "none"
    api_key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Deduplication:
    """Which parameters make the deduplication hash, and for how long a hash is remembered."""

    parameters: tuple[str, ...]
    window: timedelta = DEFAULT_WINDOW
    duplicate_status: int = 204


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds of one integration; None means the installation's default. Sizes in bytes."""

    body: int | None = None
    conf: int | None = None
    rate: Rate | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """Everything of an integration that is versioned."""

    title: str = ""
    icon: str = "webhook"
    auth: Auth = field(default_factory=Auth)
    deduplication: Deduplication | None = None
    dags: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """One integration as a file declares it."""

    name: str
    state: State
    configuration: Configuration


def parse_document(document: object) -> tuple[Declaration, ...]:
    """Return the integrations that a parsed YAML or JSON document declares.

    Raises InvalidConfiguration, whose ``path`` leads to the first wrong field.
    """
    fields = Fields(document, ())
    if fields.take("version", _exactly_one) is None:
        raise InvalidConfiguration(("version",), "is missing; write 'version: 1'")
    items = fields.take("integrations", a_list)
    if items is None:
        raise InvalidConfiguration(("integrations",), "is missing; write a list of integrations")
    fields.finish()
    declarations = tuple(parse_declaration(item, ("integrations", i)) for i, item in enumerate(items))
    seen: set[str] = set()
    for i, declaration in enumerate(declarations):
        if declaration.name in seen:
            raise InvalidConfiguration(
                ("integrations", i, "name"), f"{declaration.name!r} is declared twice; names are unique"
            )
        seen.add(declaration.name)
    return declarations


def parse_declaration(item: object, path: Path = ()) -> Declaration:
    """Return one integration of the YAML shape. Raises InvalidConfiguration."""
    fields = Fields(item, path)
    name = fields.take("name", parse_name)
    if name is None:
        raise InvalidConfiguration((*path, "name"), "is missing")
    state = fields.take("state", choice("published", "draft", "suspended")) or "draft"
    configuration = _configuration(fields)
    fields.finish()
    return Declaration(name=name, state=cast("State", state), configuration=configuration)


def parse_configuration(item: object, path: Path = ()) -> Configuration:
    """Return the versioned part of one integration of the YAML shape. Raises InvalidConfiguration."""
    fields = Fields(item, path)
    configuration = _configuration(fields)
    fields.finish()
    return configuration


def read_configuration(stored: Mapping[str, Any]) -> Configuration:
    """Return a configuration that was stored. Raises InvalidConfiguration.

    What was valid then goes on, but without headers that are taken for credentials by now.
    """
    headers = [name for name in stored.get("headers", ()) if not is_sensitive_header(name)]
    return parse_configuration({**stored, "headers": headers})


def configuration_to_dict(configuration: Configuration) -> dict[str, Any]:
    """Return the YAML shape of a configuration; ``parse_configuration`` gives it back."""
    c = configuration
    shape: dict[str, Any] = {"title": c.title, "icon": c.icon, "auth": {"type": c.auth.type}}
    if c.auth.api_key is not None:
        shape["auth"]["api_key"] = c.auth.api_key
    if c.deduplication is not None:
        shape["deduplication"] = {
            "parameters": list(c.deduplication.parameters),
            "window": format_duration(c.deduplication.window),
            "duplicate_status": c.deduplication.duplicate_status,
        }
    shape |= {"dags": list(c.dags), "assets": list(c.assets), "headers": list(c.headers)}
    limits = {
        "body": format_size(c.limits.body) if c.limits.body else None,
        "conf": format_size(c.limits.conf) if c.limits.conf else None,
        "rate": str(c.limits.rate) if c.limits.rate else None,
    }
    shape["limits"] = {name: value for name, value in limits.items() if value is not None}
    return shape


def declaration_to_dict(declaration: Declaration) -> dict[str, Any]:
    """Return the YAML shape of one integration; ``parse_declaration`` gives it back."""
    return {"name": declaration.name, "state": declaration.state} | configuration_to_dict(
        declaration.configuration
    )


def parse_name(value: object) -> str:
    """Return a valid name of an integration or API key. Raises ValueError."""
    if isinstance(value, str) and NAME.fullmatch(value):
        return value
    raise ValueError(
        f"must be 1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter or digit, not {value!r}"
    )


def _configuration(fields: Fields) -> Configuration:
    defaults = Configuration()
    return Configuration(
        title=fields.take("title", text(256)) or "",
        icon=fields.take("icon", _icon) or defaults.icon,
        auth=_auth(fields.child("auth")),
        deduplication=_deduplication(fields.child("deduplication")),
        dags=fields.take_list("dags", _dag_id),
        assets=fields.take_list("assets", _asset_uri),
        headers=fields.take_list("headers", _passed_header),
        limits=_limits(fields.child("limits")),
    )


def _auth(fields: Fields | None) -> Auth:
    if fields is None:
        return Auth()
    kind = fields.take("type", choice("none", "jwt"))
    api_key = fields.take("api_key", parse_name)
    fields.finish()
    if kind is None:
        raise InvalidConfiguration((*fields.path, "type"), "is missing; write none or jwt")
    if kind == "jwt" and api_key is None:
        raise InvalidConfiguration(
            (*fields.path, "api_key"), "is missing; name the API key that JWTs are made from"
        )
    if kind == "none" and api_key is not None:
        raise InvalidConfiguration((*fields.path, "api_key"), "has no use when type is none; remove it")
    return Auth(type=cast("Literal['none', 'jwt']", kind), api_key=api_key)


def _deduplication(fields: Fields | None) -> Deduplication | None:
    if fields is None:
        return None
    parameters = fields.take_list("parameters", validate_parameter)
    window = fields.take("window", parse_duration) or DEFAULT_WINDOW
    status = fields.take("duplicate_status", _duplicate_status) or 204
    fields.finish()
    path = (*fields.path, "parameters")
    if not parameters:
        raise InvalidConfiguration(path, "is missing; choose 1 to 5 parameters, such as body.order.id")
    if len(parameters) > MAX_DEDUPLICATION_PARAMETERS:
        raise InvalidConfiguration(
            path, f"has {len(parameters)} parameters; at most {MAX_DEDUPLICATION_PARAMETERS} can be chosen"
        )
    return Deduplication(parameters=parameters, window=window, duplicate_status=status)


def _limits(fields: Fields | None) -> Limits:
    if fields is None:
        return Limits()
    limits = Limits(
        body=fields.take("body", parse_size),
        conf=fields.take("conf", parse_size),
        rate=fields.take("rate", parse_rate),
    )
    fields.finish()
    return limits


def _exactly_one(value: object) -> int:
    if value == 1 and not isinstance(value, bool):
        return 1
    raise ValueError(f"must be 1, the only version of this format, not {value!r}")


def _icon(value: object) -> str:
    if isinstance(value, str) and NAME.fullmatch(value):
        return value
    raise ValueError("must be the name of an icon, such as shopping-cart")


def _dag_id(value: object) -> str:
    if isinstance(value, str) and DAG_ID.fullmatch(value):
        return value
    raise ValueError(f"must be a DAG id (letters, digits, '.', '_', '-'; at most 250), not {value!r}")


def _asset_uri(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= 1500 and value.isprintable() and value.isascii():
        return value
    raise ValueError("must be the URI or name of an asset, such as incoming://orders")


def _passed_header(value: object) -> str:
    if not isinstance(value, str) or not HEADER.fullmatch(value.lower()):
        raise ValueError("must be the name of a header, such as x-request-id")
    if is_sensitive_header(value.lower()):
        raise ValueError(f"{value} carries a credential or signature and is never passed on")
    return value.lower()


def _duplicate_status(value: object) -> int:
    if value in (200, 204) and isinstance(value, int):
        return value
    raise ValueError("must be 204 or 200")
