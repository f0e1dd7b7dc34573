"""How far a long replay is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from airflow_incoming.services.replay import Step

_LONGEST_COUNT = 12
_LONGEST_REASON = 300


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the steps of a replay did until now; ``reason`` is why the last one was refused."""

    replayed: int = 0
    duplicates: int = 0
    refused: int = 0
    pending: int = 0
    reason: str = ""

    @property
    def seen(self) -> int:
        """Return how many events were looked at."""
        return self.replayed + self.duplicates + self.refused + self.pending

    def after(self, step: Step) -> Progress:
        """Return the progress with another step."""
        reasons = [one.reason for one in step.done if one.action == "refused" and one.reason]
        return replace(
            self,
            replayed=self.replayed + step.total("requeued", "copied"),
            duplicates=self.duplicates + step.total("duplicate"),
            refused=self.refused + step.total("refused"),
            pending=self.pending + step.total("pending"),
            reason=(reasons or [self.reason])[-1][:_LONGEST_REASON],
        )

    def fields(self) -> dict[str, str]:
        """Return it as the fields of the form that asks for the next step."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def read(cls, values: Mapping[str, str]) -> Progress:
        """Return what :meth:`fields` gave; it only informs, so nonsense counts as nothing."""

        def count(name: str) -> int:
            text = values.get(name, "")
            return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_COUNT else 0

        return cls(
            replayed=count("replayed"),
            duplicates=count("duplicates"),
            refused=count("refused"),
            pending=count("pending"),
            reason=values.get("reason", "")[:_LONGEST_REASON],
        )
