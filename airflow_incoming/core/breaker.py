"""A circuit breaker: after a failure, leave a dependency alone for a while."""

from __future__ import annotations


class CircuitBreaker:
    """Opens for ``pause`` seconds at a failure, twice as long at each further one up to ``longest``.

    Takes monotonic seconds; not locked, for one thread.
    """

    def __init__(self, *, pause: float = 1.0, longest: float = 8.0) -> None:
        self._first = pause
        self._longest = longest
        self._pause = pause
        self._open_until = float("-inf")

    def allows(self, now: float) -> bool:
        """Tell whether the dependency may be tried."""
        return now >= self._open_until

    def succeeded(self) -> None:
        """Close the circuit."""
        self._pause = self._first
        self._open_until = float("-inf")

    def failed(self, now: float) -> None:
        """Open the circuit."""
        self._open_until = now + self._pause
        self._pause = min(self._pause * 2, self._longest)
