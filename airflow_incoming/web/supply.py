"""What there is only so much of, divided so that no sender keeps it from the others."""

from __future__ import annotations

from functools import lru_cache

from airflow_incoming.core.addresses import site_of


class Supply:
    """So many places, or bytes, and who has them.

    One sender has at most a share of what the others leave, and all senders of one IPv6 site (a /48) have at
    most what two would have. So neither keeps everything from the others, and nobody has to be turned out for
    it. Each further one finds less, and many together leave nothing: with halves, ten have all of 1,000.
    (Choudhury and Hahne, *Dynamic queue length thresholds for shared-memory packet switches*, 1998.)
    """

    __slots__ = ("_held", "taken")

    def __init__(self) -> None:
        #: How much all have together.
        self.taken = 0
        #: By sender, and by site.
        self._held: dict[str, int] = {}

    def has(self, sender: str, most: int, share: float, size: int = 1, least: int = 1) -> bool:
        """Tell whether a sender may have ``size`` more of ``most``; ``least`` it may have anyhow."""
        if self.taken + size <= share * most:  # whoever has what is taken; so it nearly always is
            return True
        if not self._leaves(sender, most, share, size, least):
            return False
        return "/" not in sender or self._leaves(_site_of(sender), most, share * (2 - share), size, least)

    def take(self, sender: str, size: int = 1) -> None:
        """Give a sender more; who has nothing isn't remembered."""
        if size:
            self.taken += size
            self._held[sender] = self._held.get(sender, 0) + size
            if "/" in sender:
                site = _site_of(sender)
                self._held[site] = self._held.get(site, 0) + size

    def give_back(self, sender: str, size: int = 1) -> None:
        """Take from a sender what it had."""
        if size:
            self.taken -= size
            self._lessen(sender, size)
            if "/" in sender:
                self._lessen(_site_of(sender), size)

    def _leaves(self, holder: str, most: int, share: float, size: int, least: int) -> bool:
        held = self._held.get(holder, 0)
        others = self.taken - held
        wanted = held + size
        return wanted <= most - others and (wanted <= least or wanted <= share * (most - others))

    def _lessen(self, holder: str, size: int) -> None:
        rest = self._held[holder] - size
        if rest:
            self._held[holder] = rest
        else:
            del self._held[holder]


_site_of = lru_cache(maxsize=4096)(site_of)
