"""A request's body that was read already, for whoever wants to read it."""

from __future__ import annotations

from starlette.types import Message, Receive


class Replay:
    """A ``receive`` that gives the whole body at once, and then what really happens."""

    __slots__ = ("_body", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        """Return the next message."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
