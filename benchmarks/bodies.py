"""Request bodies: an order as a shop's webhook sends it, of exactly so many bytes."""

from __future__ import annotations

import json
import random
from typing import Any

#: Stands in a template where 16 hexadecimal digits go.
MARK = "@" * 16

_WORDS = (
    *("cotton", "linen", "merino", "shirt", "jacket", "trousers", "scarf", "gloves", "organic", "recycled"),
    *("washed", "slim", "regular", "blue", "navy", "olive", "sand", "charcoal", "size", "collar", "button"),
    *("pocket", "seam", "lining", "warm", "light", "season", "return", "gift"),
)


def order(size: int) -> bytes:
    """Return compact JSON of ``size`` bytes (at least 400): an order with as many items as fit.

    Large ones have items of about 750 bytes, so that 1 MB stays below the default limit of 10 000
    parameters.
    """
    chosen = random.Random(size)
    payload: dict[str, Any] = {
        "event": "order.paid",
        "order": {
            "id": MARK,
            "total": 149.9,
            "currency": "EUR",
            "customer": {"email": "ann.example@shop.example", "id": 48151623, "newsletter": True},
            "items": [],
        },
        "note": "",
    }
    words = 4 if size <= 4096 else 100
    spare = size - len(_dump(payload))
    while True:
        item = _item(chosen, words)
        cost = len(_dump(item)) + 1
        if cost > spare:
            break
        payload["order"]["items"].append(item)
        spare -= cost
    payload["note"] = "x" * (size - len(_dump(payload)))
    body = _dump(payload)
    assert len(body) == size, f"{len(body)} bytes instead of {size}"
    return body


def pieces(count: int) -> bytes:
    """Return the JSON of an order of so many small objects: most of what it costs is their number."""
    items = [{"sku": number} for number in range(count)]
    return _dump({"order": {"id": MARK}, "items": items})


def _item(chosen: random.Random, words: int) -> dict[str, Any]:
    return {
        "sku": f"A-{chosen.randrange(10**6):06}",
        "quantity": chosen.randrange(1, 5),
        "price": round(chosen.uniform(5, 200), 2),
        "text": " ".join(chosen.choices(_WORDS, k=words)),
    }


def trigger(body: bytes) -> bytes:
    """Return the body with which Airflow's own REST API starts a run that has ``body`` as its conf."""
    return b'{"logical_date":null,"conf":' + body + b"}"


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
