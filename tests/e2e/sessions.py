"""Users of the pages who are signed in for all tests of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.house import House


def signed_in(kind: Callable[[House, str], Any], user: str) -> Any:
    """Return a fixture: a user's session of this kind, in the house of the module that asks for it."""

    @pytest.fixture(scope="module")
    def session(house: House) -> Iterator[Any]:
        session = kind(house, user)
        yield session
        session.http.close()

    return session
