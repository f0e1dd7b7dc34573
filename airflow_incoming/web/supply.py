"""What there is only so much of, divided so that no sender keeps it from the others."""

from __future__ import annotations


class Supply:
    """So many places, or bytes, and who has them.

    One sender has at most a share of what the others leave. So there is always something left for whoever
    comes next, and nobody has to be turned out for it. (Choudhury and Hahne, *Dynamic queue length thresholds
    for shared-memory packet switches*, 1998.)
    """

    __slots__ = ("_held", "taken")

    def __init__(self) -> None:
        #: How much all have together.
        self.taken = 0
        self._held: dict[str, int] = {}

    def has(self, sender: str, most: int, share: float, size: int = 1, least: int = 1) -> bool:
        """Tell whether a sender may have ``size`` more of ``most``; ``least`` it may have anyhow."""
        if self.taken + size <= share * most:  # whoever has what is taken; so it nearly always is
            return True
        held = self._held.get(sender, 0)
        others = self.taken - held
        wanted = held + size
        return wanted <= most - others and (wanted <= least or wanted <= share * (most - others))

    def take(self, sender: str, size: int = 1) -> None:
        """Give a sender more; who has nothing isn't remembered."""
        if size:
            self.taken += size
            self._held[sender] = self._held.get(sender, 0) + size

    def give_back(self, sender: str, size: int = 1) -> None:
        """Take from a sender what it had."""
        if not size:
            return
        self.taken -= size
        rest = self._held[sender] - size
        if rest:
            self._held[sender] = rest
        else:
            del self._held[sender]
