"""A house under siege; in a room of its own, because its times count and nothing else may run beside it."""

from __future__ import annotations

from tests.e2e.conftest import siege

__all__ = ["siege"]
