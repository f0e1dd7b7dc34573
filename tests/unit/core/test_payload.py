from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_incoming.core.errors import MalformedJSON, UnstorableJSON, UnsupportedMediaType
from airflow_incoming.core.payload import check_media_type, parse_json, parse_portable

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    LEAVES,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXT, inside, max_size=4),
    max_leaves=8,
)
PAYLOADS = st.lists(VALUES, max_size=4) | st.dictionaries(TEXT, VALUES, max_size=4)


@given(PAYLOADS, st.booleans())
def test_every_storable_value_comes_back_as_it_was_sent(payload: object, ascii_only: bool) -> None:
    """What the standard library writes is read back the same, escaped or not."""
    body = json.dumps(payload, ensure_ascii=ascii_only).encode()

    assert repr(parse_json(body)) == repr(payload)


def _is_portable(number: float) -> bool:
    """Tell it as the rule says it, of what MessagePack and jsonb do to a number."""
    if isinstance(number, float) and abs(number) >= 2**53:  # a whole one
        number = int(Decimal(repr(number)))
    return not isinstance(number, int) or -(2**63) <= number < 2**64


def _expected(value: object) -> object:
    if isinstance(value, dict):
        return {key: _expected(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_expected(member) for member in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and not _is_portable(value):
        return json.dumps(value)
    return value


EDGES = st.builds(
    lambda number, step: number + step,
    st.sampled_from([-(2**64), -(2**63), 2**53, 2**63, 2**64, 10**22, 10**40]),
    st.integers(-2, 2),
)


@given(
    st.lists(EDGES | EDGES.map(float) | st.floats(allow_nan=False, allow_infinity=False) | st.integers()),
    PAYLOADS,
)
@example([-9.223372036854775e18, -9.223372036854776e18, 1.844674407370955e19, 1.8446744073709552e19], [])
def test_what_airflow_can_not_carry_is_text(numbers: list[float], payload: object) -> None:
    """Airflow's processes talk in MessagePack, and jsonb makes integers of whole floats; all else stays."""
    given = [payload, numbers]
    portable = parse_portable(json.dumps(given).encode())
    assert repr(portable) == repr(_expected(given))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(portable)) == portable


@pytest.mark.parametrize(
    ("body", "portable"),
    [
        (b"[18446744073709551615]", [18446744073709551615]),
        (b"[18446744073709551616]", ["18446744073709551616"]),
        (b"[-9223372036854775808]", [-9223372036854775808]),
        (b"[-9223372036854775809]", ["-9223372036854775809"]),
        (b'{"n": 6.02214076E+23}', {"n": "6.02214076E+23"}),
        (b'{"n": 1e20}', {"n": "1e20"}),
        (b'{"n": 100000000000000000000.50}', {"n": "100000000000000000000.50"}),
        (b'{"n": -1e19}', {"n": "-1e19"}),
        (b'{"n": 1e19}', {"n": 1e19}),
        (b'{"n": 0.0001e+24}', {"n": "0.0001e+24"}),
        (b'{"n": 12e-3, "3e5": "3e5"}', {"n": 0.012, "3e5": "3e5"}),
        (b'{"n": "18446744073709551616"}', {"n": "18446744073709551616"}),
        (b'{"a": {"b": [true, 1E30]}}', {"a": {"b": [True, "1E30"]}}),
    ],
)
def test_the_digits_are_those_that_were_sent(body: bytes, portable: object) -> None:
    """A number's text is not Python's spelling of it; and text stays text."""
    assert repr(parse_portable(body)) == repr(portable)


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Nothing but the two refusals ever comes out."""
    try:
        parse_json(body)
    except (MalformedJSON, UnstorableJSON):
        return


@given(st.lists(st.sampled_from(["[", "]", "{", "}", '"', "\\", "a", ":", ",", "1", "\\u0000", "e9"])))
def test_any_pieces_of_json_are_read_or_refused(pieces: list[str]) -> None:
    """So it is with what nearly is JSON; and what is accepted, the standard library reads alike."""
    body = "".join(pieces).encode()
    try:
        value = parse_json(body)
    except (MalformedJSON, UnstorableJSON):
        return
    assert value == json.loads(body)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1,\n "b": }', "line 2, column 7"),
        (b'{"a": 1} x', "Extra data"),
        (b'{"a": 1}{"a": 2}', "Extra data"),
        (b'{"a": 1,}', "line 1"),
        (b"[1, 2,]", "line 1"),
        (b"{'a': 1}", "line 1, column 2"),
        (b"{a: 1}", "line 1, column 2"),
        (b'{"a": 1 /* one */}', "line 1"),
        (b'// one\n{"a": 1}', "line 1, column 1"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 01}', "line 1"),
        (b'{"a": +1}', "line 1"),
        (b'{"a": .5}', "line 1"),
        (b'{"a": 1.}', "line 1"),
        (b'{"a": 0x1F}', "line 1"),
        (b'{"a": True}', "line 1"),
        (b'{"a": "b\nc"}', "control character"),
        (b'{"a": "\x00"}', "control character"),
        (b'{"a": "\\x41"}', "escape"),
        (b'{"a": "\\u12"}', "escape"),
        (b'{"a": "b', "Unterminated"),
        (b"\xef\xbb\xbf", "empty"),
        (b"\xef\xbb\xbf \n", "empty"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"a": 1}', "line 1, column 1"),
        (b' \xef\xbb\xbf{"a": 1}', "line 1, column 2"),
        (b'\xef\xbb\xbf{"a": }', "line 1, column 7"),
        (b'\xef\xbb\xbf{"a": "\xe9"}', "byte 10"),
        (b"\xef\xbb\xbf" + b"[" * 65 + b"]" * 65, "deeper than 64 levels"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        ("\ufeff{}".encode("utf-16-be"), "UTF-16"),
        (b'"{\\"id\\": 1}"', "encoded as JSON twice"),
        (b'" [1, 2]"', "encoded as JSON twice"),
        (b'"{\\"id\\": 1"', "must be a JSON object or array"),
        (b'"{name}"', "must be a JSON object or array"),
        (b'"\\"{}\\""', "must be a JSON object or array"),
        (b'"' + b"[" * 100_000 + b'"', "must be a JSON object or array"),
        ('{"a": 1}'.encode("utf-16-le"), "UTF-16"),
        ('{"a": 1}'.encode("utf-16-be"), "UTF-16"),
        ('{"a": 1}'.encode("utf-32-le"), "UTF-16 or UTF-32"),
        ('{"a": 1}'.encode("utf-32-be"), "UTF-16 or UTF-32"),
        (b'{"a": "\xe9"}', "byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "byte 7"),
        (b'{"a": "\xc0\x80"}', "byte 7"),
        (b"1", "object or array"),
        (b'"text"', "object or array"),
        (b"null", "object or array"),
        (b"true", "object or array"),
        (b"1e400", "object or array"),
        (b'"\\u0000"', "object or array"),
        (b'\xc2\xa0{"a": 1}', "line 1, column 1"),
        (b'{"a": 1e400', "line 1"),
        (b'{"a": "\\ud800"', "line 1"),
    ],
)
def test_what_is_not_json_is_malformed(body: bytes, detail: str) -> None:
    """RFC 8259 and nothing beside it; the detail says where or why."""
    with pytest.raises(MalformedJSON) as refusal:
        parse_json(body)
    assert detail.lower() in refusal.value.detail.lower()


@pytest.mark.parametrize("body", [b"{}", b'[1, "\xc3\xa9"]', b'{"a": "' + b"x" * 5000 + b'"}', b"\n[\n]"])
def test_a_byte_order_mark_in_front_changes_nothing(body: bytes) -> None:
    """RFC 8259, section 8.1 lets it be ignored; what is stored as text is read the same again."""
    marked = b"\xef\xbb\xbf" + body
    assert parse_json(marked) == parse_json(marked.decode().encode()) == json.loads(body)


def test_unstorable_text_behind_a_byte_order_mark_is_named() -> None:
    """What looks for it in the bytes isn't misled by three more."""
    with pytest.raises(UnstorableJSON) as refusal:
        parse_json(b'\xef\xbb\xbf{"a": {"b": "\\u0000"}}')
    assert refusal.value.parameter == "a.b"


def test_the_detail_never_repeats_the_body() -> None:
    """A body may hold secrets, and a detail goes to logs."""
    for body in (b'{"password": hunter2}', b'{"password": "hunter2" x}', b"hunter2", b'"hunter2'):
        with pytest.raises(MalformedJSON) as refusal:
            parse_json(body)
        assert "hunter2" not in refusal.value.detail


TRICKY = st.text(st.sampled_from('\\"[]{}nu\n\t'), max_size=6)


@given(st.lists(TRICKY, min_size=55, max_size=75), st.booleans())
def test_depth_is_counted_whatever_stands_in_strings(texts: list[str], in_keys: bool) -> None:
    """One level for each text."""
    body = "".join(f"{{{json.dumps(text)}:" if in_keys else f"[{json.dumps(text)}," for text in texts)
    body += "0" + ("}" if in_keys else "]") * len(texts)
    if len(texts) > 64:
        with pytest.raises(MalformedJSON, match="deeper than 64 levels"):
            parse_json(body.encode())
    else:
        assert parse_json(body.encode()) == json.loads(body)


@pytest.mark.parametrize("deep", [65, 900, 3000, 200_000])
def test_an_escape_before_a_quote_hides_no_depth(deep: int) -> None:
    with pytest.raises(MalformedJSON, match="deeper than 64 levels"):
        parse_json(b'["\\n\\"",' + b"[" * deep + b"]" * deep + b"]")


def test_objects_and_arrays_are_bounded_but_not_those_in_text() -> None:
    assert parse_json(b'[[],{},"[[[{{{"]', max_containers=3) == [[], {}, "[[[{{{"]
    with pytest.raises(UnstorableJSON, match="more than 3 objects and arrays"):
        parse_json(b'[[],{},"[[[{{{",{}]', max_containers=3)
    with pytest.raises(MalformedJSON, match="deeper than 64 levels"):
        parse_json(b"[" * 65, max_containers=3)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'[{"a":' * 33 + b"1" + b"}]" * 33,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'[{"a":' * 50_000 + b"1" + b"}]" * 50_000,
        b'["", "[", "", "]", "a", ' + b"[" * 64 + b"]" * 64 + b"]",
        b'["\\\\", "\\"", ' + b"[" * 64 + b"]" * 64 + b"]",
        b'["]]]]]]]]", ' + b"[" * 64 + b"]" * 64 + b"]",
    ],
)
def test_what_is_deeper_than_64_is_malformed(body: bytes) -> None:
    """It never reaches the recursive parser."""
    with pytest.raises(MalformedJSON, match="deeper than 64 levels"):
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 64 + b"]" * 64,
        b'[{"a":' * 32 + b"1" + b"}]" * 32,
        b"[" + b",".join([b"[[]]"] * 200) + b"]",
        b'["' + b"[{" * 100 + b'", "\\\\", "\\"' + b"[" * 100 + b'"]',
    ],
)
def test_what_is_64_deep_or_has_brackets_in_text_is_read(body: bytes) -> None:
    """Only nesting counts: neither how many brackets there are, nor those inside text."""
    assert parse_json(body) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "parameter", "problem"),
    [
        (rb'{"a": {"b": "x\u0000"}}', "a.b", "value contains U+0000"),
        (rb'{"a": ["x", "\ud800"]}', "a.1", "value contains a lone surrogate"),
        (rb'{"a": "\uDFFF"}', "a", "value contains a lone surrogate"),
        (rb'{"a": "\ude00\ud83d"}', "a", "value contains a lone surrogate"),
        (rb'{"a": "\ud83d\ud83d\ude00"}', "a", "value contains a lone surrogate"),
        (rb'{"a": "\\\u0000"}', "a", "value contains U+0000"),
        (rb'{"a": {"\u0000": 1}}', "a.\ufffd", "name contains U+0000"),
        (rb'{"a.b": {"\udc00": 1}}', "a\\.b.\ufffd", "name contains a lone surrogate"),
        (b'{"a": 1e400}', "a", "number is out of range"),
        (b"[0, -1E+999]", "1", "number is out of range"),
        (b'{"a": ' + b"9" * 400 + b".5}", "a", "number is out of range"),
        (b'{"a": [' + b"9" * 4301 + b"]}", "a.0", "more than 4300 digits"),
        (b'{"a": -' + b"1" * 4301 + b"}", "a", "more than 4300 digits"),
    ],
)
def test_json_that_no_database_holds_is_unstorable(body: bytes, parameter: str, problem: str) -> None:
    """It is refused rather than changed, and the parameter is named."""
    with pytest.raises(UnstorableJSON) as refusal:
        parse_json(body)
    assert refusal.value.parameter == parameter
    assert problem in refusal.value.detail
    refusal.value.detail.encode()


def test_a_long_name_is_cut_off_in_the_refusal() -> None:
    """An error stays small, whatever was sent."""
    with pytest.raises(UnstorableJSON) as refusal:
        parse_json(b'{"' + b"k" * 10_000 + rb'": "\u0000"}')
    assert len(refusal.value.detail) < 300


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'{"a": "\\u0000 \\ud800"}', {"a": "\\u0000 \\ud800"}),
        (rb'{"a": "\ud83d\ude00"}', {"a": "😀"}),
        ('{"a": "😀"}'.encode(), {"a": "😀"}),
        (b'{"a": "' + b"9" * 5000 + b'"}', {"a": "9" * 5000}),
        (b'{"a": 1e5, "b": 5e-400}', {"a": 100000.0, "b": 0.0}),
        (b'{"a": 1, "b": 2, "a": 3}', {"a": 3, "b": 2}),
        (b'{"a": 9007199254740993}', {"a": 9007199254740993}),
        (b"{}", {}),
        (b" [] \n", []),
    ],
)
def test_what_only_looks_suspicious_is_read(body: bytes, value: object) -> None:
    """An escaped backslash escapes nothing after it, pairs are one character, the last of equal keys wins."""
    assert parse_json(body) == value


@pytest.mark.parametrize("offset", range(0, 431, 43))
def test_a_number_that_is_too_long_is_found_wherever_it_stands(offset: int) -> None:
    """The search looks at a sample of the bytes first, which begins anywhere in relation to the number."""
    body = b'{"pad": "' + b"x" * offset + b'", "a": ' + b"9" * 4301 + b"}"
    with pytest.raises(UnstorableJSON, match="more than 4300 digits"):
        parse_json(body)


def test_the_longest_integer_is_exact() -> None:
    """4300 digits are what Python reads by default."""
    assert parse_json(b"[" + b"9" * 4300 + b"]") == [10**4300 - 1]


def test_floats_stay_floats() -> None:
    """Types are kept: 1.0 isn't 1."""
    assert repr(parse_json(b"[1.0, -0.0]")) == "[1.0, -0.0]"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json ; Charset="Utf-8"',
        "application/vnd.shop.order+json",
        "application/cloudevents+json; charset=utf-8; version=1",
        'application/json; profile="a;b"',
        "application/problem+JSON",
        "application/json; charset=utf8",
        "application/json; charset=us-ascii",
        "application/json;charset=ISO-8859-1",
        "application/json; charset=utf-16",
        "application/json; charset=anything; charset=else",
    ],
)
def test_json_is_supported_whatever_charset_it_claims(content_type: str) -> None:
    """application/json and anything +json; a charset has no effect on JSON (RFC 8259, section 11)."""
    check_media_type({"content-type": content_type})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/json"},
        {"content-type": "text/plain"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json-seq"},
        {"content-type": "application/+json"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json, application/json"},
        {"content-type": "application/json text/plain"},
        {"content-type": "application/json; charset"},
        {"content-type": 'application/json; charset="utf-8'},
        {"content-type": "appl\u0131cation/j\u017fon"},
    ],
)
def test_other_media_types_are_not(headers: dict[str, str]) -> None:
    """Nothing is guessed."""
    with pytest.raises(UnsupportedMediaType) as refusal:
        check_media_type(headers)
    assert refusal.value.because == "type"


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "gzip, identity"])
def test_encoded_bodies_are_not(encoding: str) -> None:
    """Nothing is unpacked, whatever the type says."""
    for headers in ({"content-type": "application/json"}, {"content-type": "text/plain"}, {}):
        with pytest.raises(UnsupportedMediaType) as refusal:
            check_media_type({**headers, "content-encoding": encoding})
        assert refusal.value.because == "encoding"


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_identity_is_no_encoding(encoding: str) -> None:
    """RFC 9110, section 8.4.1: identity means as it is."""
    check_media_type({"content-type": "application/json", "content-encoding": encoding})
