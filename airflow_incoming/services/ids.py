"""Ids of events and requests: UUIDs of version 7, which sort by the time at which they were made.

The library that Airflow uses counts milliseconds, and one more for each id of the same one: at thousands a
second its ids run ahead of the clock, by minutes. It also asks the system for random bits each time, and then
Python lets another thread go on, for as long as that likes.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from uuid import UUID

#: Ids for which random bits are fetched at once.
_STOCK = 128
_WORDS = struct.Struct(f"<{_STOCK}Q")
_VERSION, _VARIANT = 7 << 76, 0b10 << 62
_BELOW_VARIANT = (1 << 62) - 1


class Ids:
    """Makes ids. For any number of threads, and for a process that was forked as well."""

    def __init__(self, nanoseconds: Callable[[], int] = time.time_ns) -> None:
        self._nanoseconds = nanoseconds
        self._last = 0
        self._random: Iterator[int] = iter(())
        self._process = 0

    def make(self) -> UUID:
        """Return an id above the last one of this process, whatever the clock does.

        Beside the milliseconds it holds 12 bits of a fraction of one, a quarter of a microsecond (RFC 9562,
        6.2, method 3), and 62 random bits.
        """
        milliseconds, rest = divmod(self._nanoseconds(), 1_000_000)
        stamp = max(milliseconds << 12 | (rest << 12) // 1_000_000, self._last + 1)
        self._last = stamp
        random = self._draw() & _BELOW_VARIANT
        return UUID(int=(stamp >> 12) << 80 | _VERSION | (stamp & 0xFFF) << 64 | _VARIANT | random)

    def _draw(self) -> int:
        if self._process == os.getpid():  # else these bits are somebody else's, too
            for word in self._random:
                return word
        self._random = iter(_WORDS.unpack(os.urandom(_WORDS.size)))
        self._process = os.getpid()
        return next(self._random)


#: One for each process, as is its clock.
make_id = Ids().make
