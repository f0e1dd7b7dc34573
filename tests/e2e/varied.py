"""Some 400 requests that differ in one thing each: method, place, type, body, headers, framing, segments."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass

JSON_TYPE = b"Content-Type: application/json"
BODY = b'{"a": 1}'
#: What stands for the paths of a receiver's base and of endpoints, and for a good token.
BASE, OPEN, HASH, PARAMETER, JWT, DRAFT, TOKEN = (
    b"<BASE>",
    b"<OPEN>",
    b"<HASH>",
    b"<PARAMETER>",
    b"<JWT>",
    b"<DRAFT>",
    b"<TOKEN>",
)


@dataclass(frozen=True)
class Varied:
    """One request as bytes with placeholders, in segments; sent ``times`` on a connection each."""

    name: str
    segments: tuple[bytes, ...]
    head: bool = False
    ends: bool = True
    times: int = 1


def request(
    *lines: bytes,
    target: bytes = OPEN,
    method: bytes = b"POST",
    body: bytes = BODY,
    length: bool = True,
    media_type: bytes | None = JSON_TYPE,
    version: bytes = b"HTTP/1.1",
    host: bytes | None = b"Host: receiver",
) -> bytes:
    """Return a request; ``lines`` are further headers, as they are."""
    head = [b"%s %s %s" % (method, target, version)]
    head += [line for line in (host, media_type, *lines) if line is not None]
    if length:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, b"", body])


def varied() -> Iterator[Varied]:
    """Yield all of them."""
    yield from _places()
    yield from _media_types()
    yield from _bodies()
    yield from _headers()
    yield from _framings()


def _places() -> Iterator[Varied]:
    unknown = b"a" * 26
    places = {
        "endpoint": OPEN,
        "endpoint/": OPEN + b"/",
        "base": BASE,
        "base/": BASE + b"/",
        "health": BASE + b"/health",
        "token": BASE + b"/auth/token",
        "unknown": BASE + b"/" + unknown,
        "draft": DRAFT,
        "endpoint/x": OPEN + b"/x",
        "base//": BASE + b"//" + unknown,
    }
    methods = (
        b"GET",
        b"HEAD",
        b"POST",
        b"PUT",
        b"PATCH",
        b"DELETE",
        b"OPTIONS",
        b"TRACE",
        b"PROPFIND",
        b"FOO",
    )
    for place, target in places.items():
        for method in methods:
            name = f"{method.decode()} {place}"
            yield Varied(name, (request(method=method, target=target),), head=method == b"HEAD")
    more = {
        "endpoint//": OPEN + b"//",
        "health/": BASE + b"/health/",
        "token/": BASE + b"/auth/token/",
        "query": OPEN + b"?a=1&b=%C3%A9&b=+",
        "query of bytes": OPEN + b"?a=\xff",
        "base?query": BASE + b"?a=1",
        "percent": OPEN + b"%2e",
        "percent slash": OPEN + b"%2f",
        "percent end": OPEN + b"%20",
        "percent bytes": BASE + b"/%ff%fe",
        "dot": BASE + b"/./" + unknown,
        "dots": BASE + b"/../" + unknown,
        "upper case": BASE + b"/" + unknown.upper(),
        "semicolon": OPEN + b";a=1",
        "fragment": OPEN + b"#a",
        "long": BASE + b"/" + b"a" * 5000,
        "absolute": b"http://elsewhere" + OPEN,
        "asterisk": b"*",
        "backslash": BASE + b"\\" + unknown,
        "newline within": BASE + b"/abc%0adef",
        "newline at the end": OPEN + b"%0a",
        "newline behind the base": BASE + b"%0a",
        "newline behind health": BASE + b"/health%0a",
        "CR": OPEN + b"%0d",
        "NUL": OPEN + b"%00",
        "/base": b"/" + BASE,
        "/endpoint": b"/" + OPEN,
    }
    for place, target in more.items():
        yield Varied(f"POST {place}", (request(target=target),))
    for name, method in (("lower case", b"post"), ("a tab", b"POST\t"), ("CONNECT", b"CONNECT")):
        yield Varied(f"method {name}", (request(method=method),))


def _media_types() -> Iterator[Varied]:
    for media_type in (
        b"application/json;",
        b"application/json; charset=utf-8",
        b"application/json;charset=UTF8",
        b'application/json; charset="us-ascii"',
        b"application/json; charset=iso-8859-1",
        b"application/json; charset=utf-16",
        b"application/json; charset",
        b"APPLICATION/JSON",
        b"application/cloudevents+json",
        b"application/+json",
        b"application/json, application/json",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"text/plain",
        b"text/json",
        b"",
        b" ",
        b"application/json \t",
        "application/jsön".encode(),
    ):
        yield Varied(f"type {media_type!r}", (request(media_type=b"Content-Type: " + media_type),))
    yield Varied("no type", (request(media_type=None),))
    for second in (b"application/json", b"text/plain"):
        yield Varied(f"types, then {second!r}", (request(b"Content-Type: " + second),))
    yield Varied("type_", (request(b"Content_Type: application/json", media_type=None),))
    for encoding in (b"gzip", b"identity", b"", b"br, identity", b" Identity "):
        yield Varied(f"encoding {encoding!r}", (request(b"Content-Encoding: " + encoding),))
    yield Varied("encodings", (request(b"Content-Encoding: identity", b"Content-Encoding: gzip"),))


def _bodies() -> Iterator[Varied]:
    for name, body in {
        "nothing": b"",
        "white space": b" \r\n",
        "mark": b"\xef\xbb\xbf" + BODY,
        "mark alone": b"\xef\xbb\xbf",
        "marks": b"\xef\xbb\xbf" * 2 + BODY,
        "UTF-16": BODY.decode().encode("utf-16"),
        "UTF-32": BODY.decode().encode("utf-32-be"),
        "latin-1": b'{"a": "\xe9"}',
        "UTF-8": '{"ż": "€😀"}'.encode(),
        "array": b"[1, [2], {}]",
        "number": b"1",
        "text": b'"a"',
        "twice encoded": json.dumps(BODY.decode()).encode(),
        "twice encoded array": json.dumps("[1]").encode(),
        "thrice encoded": json.dumps(json.dumps(BODY.decode())).encode(),
        "cut off": BODY[:-1],
        "two": BODY * 2,
        "NaN": b'{"a": NaN}',
        "1e400": b'{"a": 1e400}',
        "digits": b'{"a": ' + b"9" * 5000 + b"}",
        "NUL": b'{"a": "\\u0000"}',
        "surrogate": b'{"\\ud800": 1}',
        "deep": b"[" * 65 + b"]" * 65,
        "brackets": b"[" * 30_000,
        "wide": b"[" + b"1," * 10_001 + b"1]",
        "large conf": b'{"a": "' + b"x" * 300_000 + b'"}',
        "large": b'{"a": "' + b"x" * 2**20 + b'"}',
        "equal names": b'{"a": 1, "a": 2}',
        "our names": b'{"_incoming.event_id": 1, "_incoming": {"x": 1}}',
        "compressed": gzip.compress(BODY, mtime=0),
        "a request": request(),
    }.items():
        yield Varied(f"body {name}", (request(body=body),))


def _headers() -> Iterator[Varied]:
    once: dict[str, tuple[bytes, ...]] = {
        "repeated": (b"X-A: 1", b"X-B: 2", b"x-a: 3"),
        "repeated empty": (b"X-A:", b"X-A:"),
        "underscore": (b"X_A: 1",),
        "underscore and hyphen": (b"X_A: 1", b"X-A: 2"),
        "hyphen and underscore": (b"X-A: 2", b"X_A: 1"),
        "white space": (b"X-A: \t 1 2 \t",),
        "other white space": (b"X-A: \xc2\xa01\x85",),
        "UTF-8": ("X-A: Zażółć €".encode(),),
        "latin-1": (b"X-A: caf\xe9",),
        "bytes": (b"X-A: \xff\xfe\x80",),
        "no value": (b"X-A:",),
        "cookies": (b"Cookie: a=1", b"Cookie: b=2"),
        "forwarded": (b"X-Forwarded-For: 203.0.113.5",),
        "forwarded, repeated": (b"X-Forwarded-For: 203.0.113.5", b"X-Forwarded-For: 203.0.113.6"),
        "forwarded, underscore": (b"X_Forwarded_For: 203.0.113.5",),
        "forwarded, both": (b"X_Forwarded_For: 203.0.113.5", b"X-Forwarded-For: 203.0.113.6"),
        "forwarded, white space": (b"X-Forwarded-For: \t203.0.113.5 ",),
        "forwarded host": (b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: https"),
        "a method override": (b"X-HTTP-Method-Override: DELETE",),
        "odd name": (b"X!#$%&'*+.^`|~A: 1",),
        "space before the colon": (b"X-A : 1",),
        "no name": (b": 1",),
        "no colon": (b"X-A",),
        "NUL": (b"X-A: \x00",),
        "bare CR": (b"X-A: 1\rX-B: 2",),
        "bytes in a name": (b"X-\xff: 1",),
        "continued": (b"X-A: 1", b" 2"),
        "a large one": (b"X-A: " + b"a" * 17_000,),
        "many": tuple(b"X-%d: a" % number for number in range(120)),
        "hop by hop": (b"Connection: X-A, keep-alive", b"X-A: 1", b"Keep-Alive: timeout=5", b"Trailer: X-A"),
        "close": (b"Connection: close",),
        "range and condition": (b"Range: bytes=0-1", b'If-None-Match: "a"', b"If-Modified-Since: x"),
        "accepting": (b"Accept: text/html", b"Accept-Encoding: gzip", b"Accept-Language: pl"),
        "origin": (
            b"Origin: http://elsewhere",
            b"Sec-Fetch-Site: cross-site",
            b"Referer: http://elsewhere/?token=x",
        ),
        "expectation": (b"Expect: 100-continue",),
        "another expectation": (b"Expect: 200-ok",),
        "two hosts": (b"Host: other",),
        "a cookie of Airflow's": (b"Cookie: _token=x",),
        "400 KB": (b"X-A: " + b"a" * 400_000,),
        "credentials for nobody": (b"Authorization: Basic YTpi",),
    }
    for name, lines in once.items():
        yield Varied(f"header {name}", (request(*lines),))
    hosts = (
        b"a..b",
        b".x",
        b"a" * 64,
        b"a,b",
        b"a/b",
        b"u@h",
        b"[",
        b"[::1]:80",
        b"h:x",
        b"h:99999",
        b"a_b:80",
    )
    for host in (*hosts, b"caf\xe9", "żółć.pl".encode(), b"xn--a", b"a.b."):
        yield Varied(f"host {host!r}", (request(host=b"Host: " + host),))
    hashes: dict[str, tuple[bytes, ...]] = {
        "once": (b"X-Hash: h1",),
        "with white space": (b"X-Hash: \th2 \t",),
        "with an underscore": (b"X_Hash: h3",),
        "repeated": (b"X-Hash: h4", b"X-Hash: h4"),
        "in UTF-8": ("X-Hash: hé".encode(),),
        "empty": (b"X-Hash:",),
        "long": (b"X-Hash: " + b"h" * 129,),
        "and underscore": (b"X_Hash: h5", b"X-Hash: h6"),
    }
    for name, lines in hashes.items():
        yield Varied(f"own hash {name}", (request(*lines, target=HASH),), times=2)
    parameters: dict[str, tuple[bytes, ...]] = {
        "once": (b"X-Id: p1",),
        "repeated": (b"X-Id: p2", b"X-Id: p3"),
        "with white space": (b"X-Id: p4 ",),
        "in UTF-8": ("X-Id: pż€".encode(),),
        "in latin-1": (b"X-Id: p\xe9",),
        "empty": (b"X-Id:",),
        "missing": (),
        "with an underscore": (b"X_Id: p5",),
    }
    for name, lines in parameters.items():
        yield Varied(f"parameter {name}", (request(*lines, target=PARAMETER),), times=2)
    credentials: dict[str, tuple[bytes, ...]] = {
        "good": (b"Authorization: Bearer " + TOKEN,),
        "with white space": (b"Authorization: \t Bearer " + TOKEN + b" \t",),
        "with two spaces": (b"Authorization: Bearer  " + TOKEN,),
        "lower case": (b"authorization: bearer " + TOKEN,),
        "twice": (b"Authorization: Bearer " + TOKEN,) * 2,
        "then another": (b"Authorization: Bearer " + TOKEN, b"Authorization: Basic x"),
        "underscore": (b"Authorization_: Bearer " + TOKEN,),
        "missing": (),
        "empty": (b"Authorization:",),
        "UTF-8": ("Authorization: Bearer ż€".encode(),),
        "bytes": (b"Authorization: Bearer \xff",),
    }
    for name, lines in credentials.items():
        yield Varied(f"credential {name}", (request(*lines, target=JWT),))


def chunks(body: bytes = BODY, *trailers: bytes) -> bytes:
    """Return a body in chunks, with trailers."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:3], body[3:]) if part)
    return framed + b"0\r\n" + b"".join(trailer + b"\r\n" for trailer in trailers) + b"\r\n"


def framed(*lines: bytes, body: bytes = BODY, **options: object) -> bytes:
    """Return a request whose length is what ``lines`` say."""
    return request(*lines, body=body, length=False, **options)  # type: ignore[arg-type]


CHUNKED = b"Transfer-Encoding: chunked"
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAA")
TRAILERS = (
    b"Authorization: Bearer " + TOKEN,
    b"X-Hash: trailer",
    b"X-Forwarded-For: 203.0.113.7",
    b"X-A: trailer",
)
#: Whole requests, each read in one way alone; or refused.
FRAMINGS: dict[str, bytes] = {
    "length": request(),
    "no length": framed(body=b""),
    "chunked": framed(CHUNKED, body=chunks()),
    "chunked, in capitals": framed(b"Transfer-Encoding: CHUNKED", body=chunks()),
    "chunked, empty": framed(CHUNKED, body=b"0\r\n\r\n"),
    "chunked, extensions": framed(CHUNKED, body=b'8;a=b;c="d"\r\n' + BODY + b"\r\n0;e\r\n\r\n"),
    "chunked, a long extension": framed(
        CHUNKED, body=b"8;a=" + b"b" * 9000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"
    ),
    "chunked, leading zeros": framed(CHUNKED, body=b"0008\r\n" + BODY + b"\r\n000\r\n\r\n"),
    "chunked, a space": framed(CHUNKED, body=b"8 \r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunked, 0x": framed(CHUNKED, body=b"0x8\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunked, a sign": framed(CHUNKED, body=b"+8\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunked, too many digits": framed(CHUNKED, body=b"f" * 20 + b"\r\n" + BODY),
    "chunked, no end of a chunk": framed(CHUNKED, body=b"8\r\n" + BODY + b"xx0\r\n\r\n"),
    "chunked, bare LF": framed(CHUNKED, body=b"8\n" + BODY + b"\n0\n\n"),
    "chunked, LF in an extension": framed(CHUNKED, body=b"8;a\n=b\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunked by an underscore": request(b"Transfer_Encoding: chunked"),
    "length by an underscore": request(b"Content_Length: 2"),
    "trailers, open": framed(CHUNKED, body=chunks(BODY, *TRAILERS)),
    "trailers, credential": framed(CHUNKED, body=chunks(BODY, *TRAILERS), target=JWT),
    "trailers, own hash": framed(CHUNKED, body=chunks(BODY, *TRAILERS), target=HASH),
    "trailers, length": framed(CHUNKED, body=chunks(BODY, b"Content-Length: 2", b"Transfer-Encoding: gzip")),
    "length and chunked": framed(b"Content-Length: 8", CHUNKED, body=chunks()),
    "chunked and length": framed(CHUNKED, b"Content-Length: 8", body=chunks()),
    "gzip, chunked": framed(b"Transfer-Encoding: gzip, chunked", body=chunks()),
    "gzip and chunked": framed(b"Transfer-Encoding: gzip", CHUNKED, body=chunks()),
    "chunked, chunked": framed(b"Transfer-Encoding: chunked, chunked", body=chunks()),
    "chunked twice": framed(CHUNKED, CHUNKED, body=chunks()),
    "identity": request(b"Transfer-Encoding: identity"),
    "identity, chunked": framed(b"Transfer-Encoding: identity, chunked", body=chunks()),
    "no encoding": request(b"Transfer-Encoding:"),
    "chunked with white space": framed(b"Transfer-Encoding: \tchunked ", body=chunks()),
    "chunked with VT": framed(b"Transfer-Encoding: \x0bchunked", body=chunks()),
    "chunked, continued": framed(b"Transfer-Encoding:\r\n chunked", body=chunks()),
    "xchunked": framed(b"Transfer-Encoding: xchunked", body=chunks()),
    "length with a sign": framed(b"Content-Length: +8"),
    "length below zero": framed(b"Content-Length: -8"),
    "length with a space": framed(b"Content-Length: 0 8"),
    "length, white space around": framed(b"Content-Length: \t8 \t"),
    "length, a list": framed(b"Content-Length: 8, 8"),
    "length twice": framed(b"Content-Length: 8", b"Content-Length: 8"),
    "lengths": framed(b"Content-Length: 8", b"Content-Length: 2"),
    "length, hexadecimal": framed(b"Content-Length: 0x8"),
    "length, no digits": framed(b"Content-Length:"),
    "length of 30 digits": framed(b"Content-Length: " + b"9" * 30),
    "length before a space": framed(b"Content-Length : 8"),
    "length, continued": framed(b"Content-Length:\r\n 8"),
    "bare LF": request().replace(b"\r\n", b"\n"),
    "bare LF at the end": request().replace(b"\r\n\r\n", b"\r\n\n"),
    "upgrade h2c": request(*H2C),
    "upgrade h2c, chunked": framed(*H2C, CHUNKED, body=chunks()),
    "upgrade h2c, trailers": framed(*H2C, CHUNKED, body=chunks(BODY, *TRAILERS)),
    "upgrade h2c, closing": request(b"Connection: close, Upgrade", b"Upgrade: h2c"),
    "upgrade h2c, hash": request(*H2C, b"X-Hash: upgraded", target=HASH),
    "upgrade websocket": request(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    "upgrade TLS": request(b"Connection: Upgrade", b"Upgrade: TLS/1.2, HTTP/1.1"),
    "upgrade without connection": request(b"Upgrade: h2c"),
    "connection without upgrade": request(b"Connection: Upgrade"),
    "CONNECT websocket": request(b"Connection: Upgrade", b"Upgrade: websocket", method=b"CONNECT"),
    "a byte too many": request() + b"X",
    "HTTP/1.0": request(version=b"HTTP/1.0"),
    "HTTP/1.0, keep-alive": request(b"Connection: keep-alive", version=b"HTTP/1.0"),
    "HTTP/1.0, no host": request(version=b"HTTP/1.0", host=None),
    "HTTP/1.0, chunked": framed(CHUNKED, body=chunks(), version=b"HTTP/1.0"),
    "HTTP/1.0, upgrade": request(*H2C, version=b"HTTP/1.0"),
    "HTTP/0.9": b"GET " + OPEN + b"\r\n\r\n",
    "HTTP/0.9, said so": request(version=b"HTTP/0.9"),
    "HTTP/1.2": request(version=b"HTTP/1.2"),
    "HTTP/2.0": request(version=b"HTTP/2.0"),
    "no host": request(host=None),
    "an empty host": request(host=b"Host:"),
    "a host with a space": request(host=b"Host: a b"),
    "a body at GET": request(method=b"GET", body=request(target=HASH)),
    "chunks at GET": framed(CHUNKED, body=chunks(request(target=HASH)), method=b"GET"),
}
#: What a request is of which the rest never comes.
UNENDED: dict[str, bytes] = {
    "less than the length": framed(b"Content-Length: 9"),
    "chunks that don't end": framed(CHUNKED, body=chunks()[:-5]),
    "trailers that don't end": framed(CHUNKED, body=chunks()[:-2] + b"X-A: 1\r\n"),
}


def _framings() -> Iterator[Varied]:
    for name, whole in FRAMINGS.items():
        yield Varied(f"framing {name}", (whole,))
        behind = whole.find(b"\r\n\r\n") + 4
        if behind > 3:
            yield Varied(f"framing {name}, 2 segments", (whole[:behind], whole[behind:]))
    for name, whole in UNENDED.items():
        yield Varied(f"framing {name}", (whole,), ends=False)
    head = request(method=b"HEAD", body=request(target=HASH))
    yield Varied("framing a body at HEAD", (head,), head=True)
