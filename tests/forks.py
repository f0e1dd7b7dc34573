"""What a forked process comes to, for tests of what two processes must not share."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_fork(make: Callable[[], bytes]) -> bytes:
    """Return what ``make`` returns in a forked process; nothing where it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, make())
        finally:
            os._exit(0)  # whatever happened: this process has no tests to go on with
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as answer:
        return answer.read()
