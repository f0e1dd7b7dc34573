"""Where uvicorn's h11 protocol would take a request to us for the beginning of a websocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_incoming.web.paths import prefix_of

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as Base
else:
    Base = object


class NoHandshake(Base):
    """To be mixed into uvicorn's H11Protocol: there is no websocket below ``prefixes``.

    So the Upgrade isn't followed, and the request is an ordinary one (RFC 9110, 7.8). ``mounted_at`` is the
    root path that the application gives itself.
    """

    prefixes: tuple[str, ...] = ("",)
    mounted_at: str = ""

    def _should_upgrade(self) -> bool:
        return super()._should_upgrade() and not self._is_ours()

    def _is_ours(self) -> bool:
        scope = {**self.scope, "root_path": self.mounted_at or self.root_path}
        return prefix_of(scope, self.prefixes) is not None
