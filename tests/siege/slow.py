"""Many slow connections from one address: each goes on a little at a time, and comes again when closed.

Run as a program, so that whoever measures has a processor of its own.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress

#: Seconds between two bytes of a connection, and connections that are opened anew in that time.
PAUSE = 2.0
AGAIN = 128
#: Seconds after which it stops by itself.
LONGEST = 120.0


def main(source: str, port: int, count: int, beginning: bytes, drop: bytes) -> None:
    """Hold ``count`` connections; say when all are there."""
    end = time.monotonic() + LONGEST
    wires = []
    while len(wires) < count:  # no flood: what it costs to begin so many is another matter
        wires += [begin(source, port, beginning) for _ in range(AGAIN // 2)]
        time.sleep(PAUSE / 20)
    sys.stdout.write("open\n")
    sys.stdout.flush()
    while time.monotonic() < end:
        again = AGAIN
        for number, wire in enumerate(wires):
            if not goes_on(wire, drop) and again:
                wire.close()
                wires[number] = begin(source, port, beginning)
                again -= 1
        time.sleep(PAUSE)


def begin(source: str, port: int, beginning: bytes) -> socket.socket:
    wire = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    wire.setblocking(False)
    with suppress(OSError):
        wire.sendall(beginning)
    return wire


def goes_on(wire: socket.socket, drop: bytes) -> bool:
    """Send a little more; tell whether the connection is good still."""
    try:
        with suppress(BlockingIOError):
            if not wire.recv(65536):
                return False
        with suppress(BlockingIOError):
            if drop:
                wire.send(drop)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    source, port, count, beginning, filler, drop = sys.argv[1:]
    said = bytes.fromhex(beginning) + b"x" * int(filler)
    main(source, int(port), int(count), said, bytes.fromhex(drop))
