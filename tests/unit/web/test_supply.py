"""What one sender has is at most a share of what the others leave."""

from __future__ import annotations

from itertools import count

from airflow_incoming.core.addresses import sender_of
from airflow_incoming.web.supply import Supply


def fill(supply: Supply, sender: str, *, most: int = 2048, share: float = 0.5) -> int:
    """Take places until there is none for the sender; return how many."""
    for taken in count():
        if not supply.has(sender, most, share):
            return taken
        supply.take(sender)
    raise AssertionError


def test_whoever_comes_next_finds_something() -> None:
    """Each of ten who take all they get leaves half of what it found."""
    supply = Supply()
    assert [fill(supply, f"sender {number}") for number in range(10)] == [
        2**each for each in range(10, 0, -1)
    ]
    assert supply.taken == 2046


def test_a_share_of_everything_is_everything() -> None:
    supply = Supply()
    assert fill(supply, "all", share=1.0) == 2048
    assert fill(supply, "nobody", share=1.0) == 0


def test_a_sender_has_something_while_there_is_anything() -> None:
    """Half of one place is one; a body may be as large as it may be."""
    supply = Supply()
    assert fill(supply, "first", most=1) == 1
    assert fill(supply, "second", most=1) == 0
    assert supply.has("large", 64, 0.5, size=40, least=40)
    assert not supply.has("large", 64, 0.5, size=41, least=40)


def test_what_is_given_back_is_there_again_and_nobody_is_remembered() -> None:
    supply = Supply()
    for _ in range(2):
        supply.take("a", 3)
    supply.give_back("a", 2)
    assert supply.taken == 4
    supply.give_back("a", 4)
    assert (supply.taken, supply._held) == (0, {})


def test_nothing_is_no_reason_to_be_remembered() -> None:
    """Empty bodies come from as many addresses as a stranger likes."""
    supply = Supply()
    supply.take("a", 0)
    assert supply._held == {}
    supply.take("a")
    supply.take("a", 0)
    supply.give_back("a", 0)
    assert supply._held == {"a": 1}


def test_the_networks_of_one_site_leave_something() -> None:
    """Half for one /64, half of the rest for the next, and that is all that a /48 has: three quarters."""
    supply = Supply()
    of_one_site = [sender_of(f"2001:db8:0:{number:x}::1") for number in range(1000)]
    assert [fill(supply, sender) for sender in of_one_site[:3]] == [1024, 512, 0]
    assert fill(supply, sender_of("2001:db8:1::1")) == 256
    assert fill(supply, "192.0.2.1") == 128
    assert sum(fill(supply, sender) for sender in of_one_site) == 0
    for sender, size in ((of_one_site[0], 1024), (of_one_site[1], 512)):
        supply.give_back(sender, size)
    assert supply.taken == 384
    assert of_one_site[0] not in supply._held
    assert sum(fill(supply, sender) for sender in of_one_site) == (2048 - 384) * 3 // 4
