"""Whose address a request comes from where proxies stand in front, and which addresses are one sender's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]

#: An IPv6 sender usually has a whole network of this size, and may use another address each time.
IPV6_PREFIX = 64
#: A site usually has one of this size, with 65,536 of those.
SITE_PREFIX = 48

_WITH_PORT = re.compile(r"\[([^]]*)](?::\d+)?|([^:]*):\d+")


def parse_networks(text: str) -> Networks:
    """Return the networks of ``10.0.0.0/8, 2001:db8::1``; none for an empty text. Raises ValueError."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(
            f"must be addresses or networks such as 10.0.0.0/8, 192.0.2.7, separated by commas; {error}"
        ) from error


def client_address(peer: str | None, forwarded_for: Iterable[str], trusted: Networks) -> str | None:
    """Return the address of whoever sent a request that came over a connection from ``peer``.

    ``forwarded_for`` are the request's X-Forwarded-For headers in their order. Each proxy adds the
    address that it was connected from at the end, so they are read from the right, as long as the
    one who says it is trusted: what is further left may be made up. Without a trusted peer, ``peer``
    is returned as it is. An entry that is no address ends the chain.
    """
    current = _parse(peer or "")
    if current is None or not _is_in(current, trusted):
        return peer
    for entry in reversed([entry for value in forwarded_for for entry in value.split(",")]):
        said = _parse(_without_port(entry.strip()))
        if said is None:
            break
        current = said
        if not _is_in(current, trusted):
            break
    return str(current)


def is_in(address: str, networks: Networks) -> bool:
    """Tell whether an address is in one of the networks; what is no address isn't."""
    parsed = _parse(address) if networks else None
    return parsed is not None and _is_in(parsed, networks)


def sender_of(address: str | None) -> str:
    """Return what one sender's addresses have in common: IPv4 whole, of IPv6 the first 64 bits."""
    parsed = _parse(address or "")
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed) >> IPV6_PREFIX << IPV6_PREFIX, IPV6_PREFIX)))
    return str(parsed or address or "unknown")


def site_of(sender: str) -> str:
    """Return the larger network of a ``sender_of`` that is an IPv6 network itself."""
    return str(ip_network(sender).supernet(new_prefix=SITE_PREFIX))


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _without_port(entry: str) -> str:
    found = _WITH_PORT.fullmatch(entry)
    return entry if found is None else found[1] or found[2] or ""


def _is_in(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks)
