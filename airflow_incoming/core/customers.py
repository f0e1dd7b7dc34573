"""Who a payload is about: identifiers found among its parameters, normalised, apart from the rest.

Two records of one customer get equal identifiers, however they were typed: an e-mail address is
trimmed and in lower case, a phone number is ``+`` and digits, a UUID is in its canonical form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args
from uuid import UUID

from airflow_incoming.core.flatten import flatten, split_path

Kind: TypeAlias = Literal["email", "custom_id", "phone", "uuid"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Names of parameters by kind of identifier, the preferred kind first; ``*`` stands for one segment.
IdentifierNames: TypeAlias = Mapping[str, "str | Sequence[str]"]
DEFAULT_IDENTIFIERS: IdentifierNames = {
    "custom_id": "custom_id",
    "email": "email",
    "phone": "phone",
    "uuid": "uuid",
}

MAX_CUSTOM_ID = 256
_EMAIL = re.compile(
    r"[^\s@<>(),:;\"\[\]\\]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{0,61}[^\W_]"
)
#: Digits and what people put between them; the library would find numbers inside of any text.
_PHONE = re.compile(
    r"(?:tel:\s*)?[+(\d][\d\s./()\u2010-\u2015-]*(?:(?:;ext=|,?\s*(?:ext(?:ension)?\.?|x|#)\s*)\d{1,8})?",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(?:19|20)\d\d[-./](?:0[1-9]|1[0-2])[-./](?:[0-2]\d|3[01])(?:\s.*)?"
    r"|(?:[0-2]?\d|3[01])[-./](?:0?[1-9]|1[0-2])[-./](?:19|20)\d\d(?:\s.*)?"
)
_TRUNK_ZERO = re.compile(r"\(\s*0\s*\)")
_COUNTRY_CODE = re.compile(r"\+?([1-9][0-9]{0,2})")
_UUID = re.compile(r"(?:urn:uuid:)?[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}")


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
    """A record without any usable identifier: its place in the batch, and why, without its values."""

    index: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Many records: those identified, in their order, and those not."""

    customers: tuple[Customer, ...]
    unidentified: tuple[Unidentified, ...]


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
        country = _country_code(default_country_code)
        self._rules = [
            _Rule(kind, _names(kind, names), _normalizer(kind, country)) for kind, names in chosen.items()
        ]

    def identify(self, data: Mapping[str, Any]) -> Customer | Unidentified:
        """Return the customer that one record is about; ``data`` is flat or nested."""
        flat = _flat(data)
        identifiers: dict[str, str] = {}
        unusable: dict[str, str] = {}
        used: set[str] = set()
        for rule in self._rules:
            for name in rule.matching(flat):
                found = rule.normalize(flat[name])
                if found is None:
                    unusable[name] = f"is no usable {rule.kind}"
                    continue
                identifiers[rule.kind] = found
                used.add(name)
                break
        if not identifiers:
            return Unidentified(index=0, reason=self._explain(unusable))
        attributes = {name: value for name, value in flat.items() if name not in used}
        return Customer(identifiers=identifiers, attributes=attributes, unusable=unusable)

    def identify_all(self, records: Iterable[Mapping[str, Any]]) -> Batch:
        """Return the customers of many records, and which records name none."""
        customers, unidentified = [], []
        for index, record in enumerate(records):
            found = self.identify(record)
            if isinstance(found, Customer):
                customers.append(found)
            else:
                unidentified.append(Unidentified(index=index, reason=found.reason))
        return Batch(customers=tuple(customers), unidentified=tuple(unidentified))

    def _explain(self, unusable: Mapping[str, str]) -> str:
        if unusable:
            return "; ".join(f"{name} {problem}" for name, problem in unusable.items())
        names = ", ".join(name for rule in self._rules for name in rule.names)
        return f"none of these parameters is present: {names}"


def identify_customer(
    data: Mapping[str, Any],
    *,
    identifiers: IdentifierNames | None = None,
    default_country_code: str | int | None = None,
) -> Customer | None:
    """Return the customer that one record is about, or None. See :class:`CustomerRules`."""
    found = CustomerRules(identifiers, default_country_code=default_country_code).identify(data)
    return found if isinstance(found, Customer) else None


def normalize_email(value: object) -> str | None:
    """Return an e-mail address trimmed and in lower case; None for what can't be one.

    A domain in Punycode becomes the letters that it stands for.
    """
    if not isinstance(value, str):
        return None
    local, at, domain = unicodedata.normalize("NFC", value.strip()).lower().rpartition("@")
    address = local + at + ".".join(map(_letters, domain.split(".")))
    if len(address) > 254 or not _EMAIL.fullmatch(address):
        return None
    return None if local.startswith(".") or local.endswith(".") or ".." in local else address


def _letters(label: str) -> str:
    """Return what a label in Punycode stands for, if it is the one spelling of that."""
    coded = label.removeprefix("xn--")
    if coded == label:
        return label
    try:
        letters = coded.encode("ascii").decode("punycode")
    except UnicodeError:
        return label
    is_plain = letters.isascii() or unicodedata.normalize("NFC", letters).lower() != letters
    return label if is_plain or letters.encode("punycode").decode() != coded else letters


def normalize_phone(value: object, *, country_code: str | None = None) -> str | None:
    """Return a phone number as ``+`` and digits (E.164); None for what isn't a valid number anywhere.

    A number without a country code is read as people in the country of ``country_code`` dial it; without
    one it is None. ``00`` is ``+``. An extension is kept behind ``;ext=`` (RFC 3966): another one is
    another person's.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    # Address books put invisible marks around numbers; full-width digits are digits.
    visible = (mark for mark in unicodedata.normalize("NFKC", value) if unicodedata.category(mark) != "Cf")
    text = "".join(visible).strip()
    if not _PHONE.fullmatch(text) or _DATE.fullmatch(text):
        return None
    if text.startswith("00"):
        text = f"+{text[2:]}"
    # In some countries the (0) is part of the number, in others it must go.
    return _phone(text, country_code) or _phone(_TRUNK_ZERO.sub("", text), country_code)


def _phone(text: str, country_code: str | None) -> str | None:
    import phonenumbers  # knows every country, which takes a while to load: where there are phone numbers

    region = phonenumbers.region_code_for_country_code(int(country_code)) if country_code else None
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"{written};ext={number.extension}" if number.extension else written


def normalize_uuid(value: object) -> str | None:
    """Return a UUID in its canonical form; None for what isn't one, and for the nil UUID."""
    if isinstance(value, UUID):
        value = str(value)
    text = value.strip().strip("{}").lower() if isinstance(value, str) else ""
    if not _UUID.fullmatch(text):
        return None
    found = UUID(text.removeprefix("urn:uuid:"))
    return str(found) if found.int else None


def normalize_custom_id(value: object) -> str | None:
    """Return an identifier of one's own as trimmed text in NFC; whole numbers count, blank text doesn't."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = unicodedata.normalize("NFC", value.strip()) if isinstance(value, str) else ""
    return text if text and len(text) <= MAX_CUSTOM_ID and text.isprintable() else None


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    names: tuple[str, ...]
    normalize: Callable[[Any], str | None]

    def matching(self, flat: Mapping[str, Any]) -> Iterator[str]:
        """Yield the parameters that are there, in the order of our names and then of the record."""
        for name in self.names:
            if name in flat:
                yield name
            elif "*" in name:
                pattern = split_path(name)
                yield from (each for each in flat if _fits(pattern, split_path(each)))


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
    return chosen


def _country_code(code: str | int | None) -> str | None:
    if code is None:
        return None
    found = _COUNTRY_CODE.fullmatch(str(code).strip())
    if found is None or not _has_country(found[1]):
        raise ValueError(f'default_country_code: must be a calling code such as "48" or "+1", not {code!r}')
    return found[1]


def _has_country(code: str) -> bool:
    import phonenumbers

    return phonenumbers.region_code_for_country_code(int(code)) not in ("ZZ", "001")  # nobody's, and many's


def _normalizer(kind: str, country_code: str | None) -> Callable[[Any], str | None]:
    if kind == "phone":
        return lambda value: normalize_phone(value, country_code=country_code)
    return {"email": normalize_email, "uuid": normalize_uuid, "custom_id": normalize_custom_id}[kind]
