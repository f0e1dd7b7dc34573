"""Whose address it is: proxies that are trusted are believed, from the right, and nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.addresses import client_address, parse_networks, sender_of

PROXIES = parse_networks("10.0.0.0/8, 2001:db8:1::/48,192.0.2.7")


def test_nobody_is_trusted_unless_told() -> None:
    """Whatever the header says."""
    assert parse_networks("") == parse_networks(" , ") == ()
    assert client_address("10.0.0.1", ["203.0.113.9"], ()) == "10.0.0.1"


@pytest.mark.parametrize("text", ["*", "proxy.example.com", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.1 10.0.0.2"])
def test_what_is_no_network(text: str) -> None:
    """A name could be anybody's, and an address with bits behind its prefix is a slip."""
    with pytest.raises(ValueError, match="must be addresses or networks"):
        parse_networks(text)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # a stranger claims to be somebody
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),  # the left one is made up
        ("10.0.0.1", ["198.51.100.1", "203.0.113.9"], "203.0.113.9"),  # in two headers, too
        ("10.0.0.1", ["203.0.113.9, 10.0.0.2, 192.0.2.7"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # from inside
        ("10.0.0.1", ["203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, , 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["<script>"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9\nforged log line"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8:2::1]:4711"], "2001:db8:2::1"),
        ("10.0.0.1", ["2001:DB8:2:0::1"], "2001:db8:2::1"),
        ("2001:db8:1::5", ["203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),  # IPv4 on a socket for both
        (None, ["203.0.113.9"], None),
        ("testclient", ["203.0.113.9"], "testclient"),
    ],
)
def test_the_chain_is_read_from_the_right(peer: str | None, forwarded: list[str], client: str | None) -> None:
    """As long as the one who says it is trusted; what is no address ends it."""
    assert client_address(peer, forwarded, PROXIES) == client


@given(st.lists(st.text()), st.ip_addresses().map(str))
def test_whatever_is_forwarded_the_answer_is_an_address(forwarded: list[str], client: str) -> None:
    """What a trusted proxy adds at the end is what counts, unless that is a proxy itself."""
    said = client_address("10.0.0.1", [*forwarded, client], PROXIES)
    assert said is not None
    assert said.isprintable()
    assert "," not in said


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:0:7:1:2:3:4", "2001:db8:0:7::/64"),
        ("2001:db8:0:7::9", "2001:db8:0:7::/64"),
        ("2001:db8:0:8::9", "2001:db8:0:8::/64"),
        ("testclient", "testclient"),
        (None, "unknown"),
    ],
)
def test_a_sender_has_one_ipv4_address_or_a_network_of_ipv6(address: str | None, sender: str) -> None:
    """Whoever has a /64 could otherwise guess from a new address each time."""
    assert sender_of(address) == sender
