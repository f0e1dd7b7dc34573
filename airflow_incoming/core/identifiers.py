"""Normal forms of identifiers: whoever types one in another way means the same customer."""

from __future__ import annotations

import re
import unicodedata
from uuid import UUID

MAX_CUSTOM_ID = 256
MAX_EMAIL = 254
#: Longer text is no number, and would take the patterns long.
MAX_PHONE = 100
_EMAIL = re.compile(
    r"[^\s@<>(),:;\"\[\]\\]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{0,61}[^\W_]"
)
#: Digits and what people put between them; the library would find numbers inside of any text.
_PHONE = re.compile(
    r"(?:tel:\s*)?[+(\d][\d\s./()\u2010-\u2015-]*(?:(?:;ext=|(?:,\s*)?(?:ext(?:ension)?\.?|x|#)\s*)\d{1,8})?",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(?:19|20)\d\d[-./](?:0[1-9]|1[0-2])[-./](?:[0-2]\d|3[01])(?:\s.*)?"
    r"|(?:[0-2]?\d|3[01])[-./](?:0?[1-9]|1[0-2])[-./](?:19|20)\d\d(?:\s.*)?"
)
_TRUNK_ZERO = re.compile(r"\(\s*0\s*\)")
_COUNTRY_CODE = re.compile(r"\+?([1-9][0-9]{0,2})")
_UUID = re.compile(r"(?:urn:uuid:)?[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}")


def normalize_email(value: object) -> str | None:
    """Return an e-mail address trimmed and in lower case; None for what can't be one.

    A domain in Punycode becomes the letters that it stands for.
    """
    if not isinstance(value, str):
        return None
    text = unicodedata.normalize("NFC", value.strip()).lower()
    if len(text) > MAX_EMAIL:
        return None
    local, at, domain = text.rpartition("@")
    address = local + at + ".".join(map(_letters, domain.split(".")))
    if not _EMAIL.fullmatch(address):
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
    if not isinstance(value, str) or len(value) > MAX_PHONE:
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


def country_code(code: str | int | None) -> str | None:
    """Return a calling code as digits. Raises ValueError where no country has it."""
    if code is None:
        return None
    found = _COUNTRY_CODE.fullmatch(str(code).strip())
    if found is None or not _has_country(found[1]):
        raise ValueError(f'default_country_code: must be a calling code such as "48" or "+1", not {code!r}')
    return found[1]


def _has_country(code: str) -> bool:
    import phonenumbers

    return phonenumbers.region_code_for_country_code(int(code)) not in ("ZZ", "001")  # nobody's, and many's
