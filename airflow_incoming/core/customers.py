"""Who a payload is about: identifiers found among its parameters, normalised, apart from the rest.

Two records of one customer get equal identifiers, however they were typed: an e-mail address is
trimmed and in lower case, a phone number is ``+`` and digits, a UUID is in its canonical form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from airflow_incoming.core.flatten import flatten, split_path
from airflow_incoming.core.identifiers import (
    country_code,
    normalize_custom_id,
    normalize_email,
    normalize_phone,
    normalize_uuid,
)
from airflow_incoming.core.parameters import validate_passed_parameter

Kind: TypeAlias = Literal["email", "custom_id", "phone", "uuid"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Names of parameters by kind of identifier, the preferred kind first; ``*`` stands for one segment.
#: ``email`` is short for ``body.email``; ``header.x-customer`` is a header that was passed on.
IdentifierNames: TypeAlias = Mapping[str, "str | Sequence[str]"]
DEFAULT_IDENTIFIERS: IdentifierNames = {
    "custom_id": "custom_id",
    "email": "email",
    "phone": "phone",
    "uuid": "uuid",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Customer:
    """One customer: normalised identifiers by kind, the preferred first, and all other parameters.

    ``attributes`` are flattened and keep their types. ``unusable`` says what was wrong with values
    that were to be identifiers; such a value stays among the attributes.
    """

    identifiers: Mapping[str, str]
    attributes: Mapping[str, Any]
    unusable: Mapping[str, str]

    @property
    def identified_by(self) -> str:
        """Return the kind of the preferred identifier."""
        return next(iter(self.identifiers))

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON has it: ``identified_by``, ``identifiers``, ``attributes``."""
        return {
            "identified_by": self.identified_by,
            "identifiers": dict(self.identifiers),
            "attributes": dict(self.attributes),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Unidentified:
    """A record without any usable identifier, and why, without its values."""

    reason: str


class CustomerRules:
    """Which parameters identify a customer; checked once, used for any number of records.

    ``identifiers`` names the parameters of each kind; kinds and names are tried in their order. Each
    kind takes the first usable value. ``default_country_code`` (``"48"``) completes phone numbers that
    are written without one. Raises ValueError for a kind that there isn't, or a name that isn't one.
    """

    def __init__(
        self,
        identifiers: IdentifierNames | None = None,
        *,
        default_country_code: str | int | None = None,
    ) -> None:
        chosen: Any = DEFAULT_IDENTIFIERS if identifiers is None else identifiers
        if not isinstance(chosen, Mapping) or not chosen:
            raise ValueError('identifiers: must be a mapping such as {"email": "customer.email"}')
        country = country_code(default_country_code)
        self._rules = [
            _Rule(kind, _names(kind, names), _normalizer(kind, country)) for kind, names in chosen.items()
        ]

    def identify(
        self, data: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
    ) -> Customer | Unidentified:
        """Return the customer that one record is about.

        ``data`` is flat or nested; ``headers``, by lower-cased name, can identify but are no attributes.
        """
        flat = _flat(data)
        headers = headers or {}
        identifiers: dict[str, str] = {}
        unusable: dict[str, str] = {}
        used: set[str] = set()
        for rule in self._rules:
            for parameter, value in rule.matching(flat, headers):
                name = parameter.removeprefix("body.")
                found = rule.normalize(value)
                if found is None:
                    unusable[name] = f"is no usable {rule.kind}"
                    continue
                identifiers[rule.kind] = found
                used.add(parameter)
                break
        if not identifiers:
            return Unidentified(reason=self._explain(unusable))
        attributes = {name: value for name, value in flat.items() if f"body.{name}" not in used}
        return Customer(identifiers=identifiers, attributes=attributes, unusable=unusable)

    def identify_all(
        self, records: Iterable[Any], *, headers: Mapping[str, str] | None = None
    ) -> list[Customer | Unidentified]:
        """Return what is found in each of many records; what is no object is nobody."""
        return [
            self.identify(record, headers=headers)
            if isinstance(record, Mapping)
            else Unidentified(reason=f"is no object, but {type(record).__name__}")
            for record in records
        ]

    def _explain(self, unusable: Mapping[str, str]) -> str:
        if unusable:
            return "; ".join(f"{name} {problem}" for name, problem in unusable.items())
        names = ", ".join(name.removeprefix("body.") for rule in self._rules for name in rule.names)
        return f"none of these parameters is present: {names}"


def identify_customer(
    data: Mapping[str, Any],
    *,
    identifiers: IdentifierNames | None = None,
    default_country_code: str | int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Customer | None:
    """Return the customer that one record is about, or None. See :class:`CustomerRules`."""
    rules = CustomerRules(identifiers, default_country_code=default_country_code)
    found = rules.identify(data, headers=headers)
    return found if isinstance(found, Customer) else None


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    names: tuple[str, ...]
    normalize: Callable[[Any], str | None]

    def matching(self, flat: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
        """Yield the parameters that are there, in the order of our names and then of the record."""
        for parameter in self.names:
            source, _, name = parameter.partition(".")
            values = headers if source == "header" else flat
            if name in values:
                yield parameter, values[name]
            elif source == "body" and "*" in name:
                pattern = split_path(name)
                yield from (
                    (f"body.{each}", value)
                    for each, value in flat.items()
                    if _fits(pattern, split_path(each))
                )


def _fits(pattern: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    return len(pattern) == len(segments) and all(
        wanted in ("*", segment) for wanted, segment in zip(pattern, segments, strict=True)
    )


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's parameters without what is about its event; a conf is flat already."""
    nested = any(isinstance(value, dict | list) and value for value in data.values())
    flat = flatten(dict(data), max_parameters=None) if nested else data
    return {name: value for name, value in flat.items() if not name.startswith("_incoming.")}


def _names(kind: str, names: object) -> tuple[str, ...]:
    if kind not in KINDS:
        raise ValueError(f"identifiers: {kind!r} is no kind of identifier; there are {', '.join(KINDS)}")
    chosen = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Sequence) else ()
    if not chosen or not all(isinstance(name, str) and name for name in chosen):
        raise ValueError(
            f"identifiers: {kind} must name a parameter, or a list of them, such as customer.{kind}"
        )
    try:
        return tuple(map(validate_passed_parameter, chosen))
    except ValueError as error:
        raise ValueError(f"identifiers: {kind}: {error}") from error


def _normalizer(kind: str, country_code: str | None) -> Callable[[Any], str | None]:
    if kind == "phone":
        return lambda value: normalize_phone(value, country_code=country_code)
    return {"email": normalize_email, "uuid": normalize_uuid, "custom_id": normalize_custom_id}[kind]
