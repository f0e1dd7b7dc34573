"""Commands over connections that are kept, for who asks hundreds of times a second beside other threads.

redis-py takes a connection out of its pool for every command and looks whether something unread is in it.
That is six system calls beside the two that the command needs, and around each Python gives its lock away: to
whoever answers requests meanwhile, and keeps it for as long as that takes.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis
    from redis.connection import Connection


class Line:
    """Asks over connections of a client's pool, and keeps those that work. For any number of threads."""

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._kept: deque[Connection] = deque()

    def ask(self, *arguments: Any) -> Any:
        """Send a command and return its answer, in bytes; again where the connection was closed meanwhile.

        The command has to be one that may be done twice. Raises redis-py's errors.
        """
        from redis.exceptions import ConnectionError as Broken

        try:
            return self._exchange(arguments)
        except Broken:
            with suppress(IndexError):  # whatever closed this one has closed the others, too
                while True:
                    self._give_back(self._kept.popleft())
            return self._exchange(arguments)

    def _exchange(self, arguments: tuple[Any, ...]) -> Any:
        from redis.exceptions import NoScriptError

        connection = self._take()
        try:
            connection.send_command(*arguments)
            answer = connection.read_response(disable_decoding=True, disconnect_on_error=True)
        except NoScriptError:
            self._kept.append(connection)
            raise
        except BaseException:
            # The pool connects anew, perhaps to another server: this one may be a replica by now.
            self._give_back(connection)
            raise
        self._kept.append(connection)
        return answer

    def _take(self) -> Connection:
        with suppress(IndexError):
            connection = self._kept.pop()
            if connection.pid == os.getpid():
                return connection
            self._kept.clear()  # they belong to the process that this one was forked from
        return self._pool.get_connection()

    def _give_back(self, connection: Connection) -> None:
        connection.disconnect()
        self._pool.release(connection)
