"""Who may start or stop what: asked by the verbs themselves, whoever calls them.

Nobody may use an integration to start what they may not start themselves. So every verb that may start
or stop something names what is at stake (:mod:`stakes` finds it) and whoever wants it, an Actor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from airflow_incoming.core.errors import Forbidden
from airflow_incoming.services.teams import Teams

#: What a refusal ends with.
ASK = "Ask somebody who may, or an administrator of Airflow."


class Actor(Protocol):
    """Who does something. It is asked several times of the same, so it should remember its answers."""

    @property
    def name(self) -> str:
        """Return the name under which it is written down what they do."""

    @property
    def is_trusted(self) -> bool:
        """Tell whether they may start everything, as whoever may run commands of Airflow."""

    def triggerable(self, dag_ids: Iterable[str], teams: Teams | None = None) -> set[str]:
        """Return those of the DAGs that they may trigger themselves, as DAGs of these teams.

        ``teams`` are those of the present by default.
        """

    def may_emit_assets(self) -> bool:
        """Tell whether they may create asset events."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whoever may run commands of Airflow: an Actor that may do everything."""

    name: str
    is_trusted: bool = True

    def triggerable(self, dag_ids: Iterable[str], teams: Teams | None = None) -> set[str]:
        """Return all of them."""
        return set(dag_ids)

    def may_emit_assets(self) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Stakes:
    """What something may start or stop: DAGs that configurations name, and those that watchers start.

    ``watching`` are the latter: whoever may read the configurations need not know them. ``teams`` are
    those of the DAGs that are there, None where Airflow has no teams. ``is_known`` is False where there is
    more than this release can read. ``older`` is what other versions start, by id: it counts while events
    of theirs wait.
    """

    dags: tuple[str, ...] = ()
    watching: frozenset[str] = frozenset()
    assets: bool = False
    teams: Teams | None = None
    is_known: bool = True
    older: Mapping[UUID, Stakes] = field(default_factory=dict)

    @property
    def missing(self) -> set[str]:
        """Return the DAGs that aren't there, where Airflow has teams: there is none that could be asked."""
        return set() if self.teams is None else {*self.dags, *self.watching} - self.teams.keys()


def refusals(actor: Actor, stakes: Stakes) -> tuple[str, ...]:
    """Return, as sentences, what of the stakes an actor may not start; none where they may."""
    if actor.is_trusted:
        return ()
    there = {*stakes.dags, *stakes.watching} - stakes.missing
    allowed = actor.triggerable(sorted(there), stakes.teams)
    # With teams, one sentence for both: whether a DAG is there is nobody's business who may not trigger it.
    absent = "" if stakes.teams is None else ", or it isn't there yet"
    sentences = [
        f"You may not trigger DAG “{dag_id}”{absent}." for dag_id in stakes.dags if dag_id not in allowed
    ]
    if not stakes.watching <= allowed:
        sentences.append("You may not trigger all DAGs that watchers of assets start with its events.")
    if stakes.assets and not actor.may_emit_assets():
        sentences.append("You may not create asset events, and it names assets.")
    if not stakes.is_known:
        sentences.append("It has configurations that this release can't read.")
    return tuple(sentences)


def lacking(actor: Actor, stakes: Stakes) -> set[UUID]:
    """Return the older versions that start what an actor may not start."""
    return {version_id for version_id, each in stakes.older.items() if refusals(actor, each)}


def consider(actor: Actor, stakes: Stakes) -> None:
    """Ask an actor about all that is at stake, who remembers it, whatever they answer.

    For before anything is locked: an auth manager may be slow.
    """
    refusals(actor, stakes)
    lacking(actor, stakes)


def demand(actor: Actor, stakes: Stakes) -> None:
    """Raise Forbidden unless an actor may start all that is at stake."""
    if refused := refusals(actor, stakes):
        raise Forbidden(f"{' '.join(refused)} {ASK}")


def demand_all(actor: Actor, credential: str, opened: Mapping[str, Stakes]) -> None:
    """Raise Forbidden unless an actor may start all that the integrations do that a credential opens.

    ``credential`` is what it is called, such as "API key 'shop'". Only the integrations are named: who
    may see credentials need not be allowed to read configurations.
    """
    blocked = [f"“{each}”" for each, stakes in opened.items() if refusals(actor, stakes)]
    if blocked:
        all_of_it = "all that it starts" if len(blocked) == 1 else "all that they start"
        raise Forbidden(f"{credential} opens {', '.join(blocked)}, and you may not start {all_of_it}. {ASK}")
