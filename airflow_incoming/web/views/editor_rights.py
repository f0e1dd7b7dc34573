"""What a visitor may do with one integration, beyond their permissions: its targets count, too.

Nobody may use an integration to start what they may not start themselves. So whoever saves, publishes,
suspends, resumes, unpublishes or deletes must be allowed to trigger all DAGs that this may start or stop,
those of events that wait included, and to create asset events where assets are named; and an endpoint
that takes no credential is shown to those alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import flask

from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.records import Integration
from airflow_incoming.web.access import Permission, Visitor


@dataclass(frozen=True, kw_only=True, slots=True)
class Rights:
    """Whether a visitor may change, publish and see the address of an integration.

    ``blocked`` says what keeps someone with the permissions from changing it.
    """

    edit: bool
    publish: bool
    see_url: bool
    blocked: tuple[str, ...]


def rights_on(visitor: Visitor, integration: Integration) -> Rights:
    """Return what a visitor may do with an integration as it is now."""
    blocked = refusals(visitor, (integration.current.configuration,))
    live = () if integration.published is None else (integration.published.configuration,)
    return Rights(
        edit=not blocked and visitor.may(Permission.EDIT_INTEGRATIONS),
        publish=not (blocked or refusals(visitor, live)) and visitor.may(Permission.PUBLISH_INTEGRATIONS),
        see_url=may_see_url(visitor, integration),
        blocked=blocked,
    )


def may_see_url(visitor: Visitor, integration: Integration) -> bool:
    """Tell whether a visitor may know the endpoint: where it is open to all, knowing it is enough.

    What starts nothing yet may start anything later, so then it is for those who may edit it.
    """
    versions = (integration.current, integration.published)
    configurations = [version.configuration for version in versions if version is not None]
    open_to_all = [each for each in configurations if each.auth.type == "none"]
    if any(not each.dags and not each.assets for each in open_to_all):
        return visitor.may(Permission.EDIT_INTEGRATIONS) and not refusals(visitor, open_to_all)
    return not refusals(visitor, open_to_all)


def refusals(visitor: Visitor, configurations: Iterable[Configuration]) -> tuple[str, ...]:
    """Return, as sentences, which targets of configurations a visitor may not start."""
    configurations = list(configurations)
    wanted = list(dict.fromkeys(dag_id for each in configurations for dag_id in each.dags))
    allowed = visitor.triggerable(wanted)
    sentences = [f"You may not trigger DAG “{dag_id}”." for dag_id in wanted if dag_id not in allowed]
    if any(each.assets for each in configurations) and not visitor.may_emit_assets():
        sentences.append("You may not create asset events, and it names assets.")
    return tuple(sentences)


def demand(visitor: Visitor, *configurations: Configuration) -> None:
    """Answer 403 unless the visitor may start all targets of the configurations."""
    refused = refusals(visitor, configurations)
    if refused:
        flask.abort(403, f"{' '.join(refused)} Ask somebody who may, or an administrator of Airflow.")
