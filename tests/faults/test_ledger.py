"""The checker itself: it must notice every broken promise."""

from __future__ import annotations

from tests.faults.ledger import Entry, check


def run(order_id: str, dag: str = "one") -> tuple[str, str, dict[str, str]]:
    return (dag, f"incoming__orders__{order_id}", {"order.id": order_id})


def test_a_kept_promise() -> None:
    """One run for each settled order, after whatever attempts."""
    assert check([Entry("a", [503, 0, 200]), Entry("b", [0, 204])], [run("a"), run("b")], ("one",)) == []


def test_broken_promises() -> None:
    """Lost, doubled, accepted twice, never accepted, one target of two: each is named."""
    assert check([Entry("a", [200])], [], ("one",)) == ["a was answered [200] and never ran in one"]
    assert check([Entry("a", [204])], [], ("one",)) == ["a was answered [204] and never ran in one"]
    assert check([Entry("a", [200])], [run("a"), run("a")], ("one",)) == ["a ran 2 times in one"]
    assert check([Entry("a", [200, 200])], [run("a")], ("one",)) == ["a was accepted twice: [200, 200]"]
    assert check([Entry("a", [503])], [], ("one",)) == ["a was never accepted: [503]"]
    assert check([Entry("a", [200])], [run("a")], ("one", "two")) == [
        "a was answered [200] and never ran in two"
    ]
