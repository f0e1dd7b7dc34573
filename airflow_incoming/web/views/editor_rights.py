"""What a visitor may do with one integration, beyond their permissions: what a page shows of it.

The services refuse by themselves what somebody may not start or stop; a page asks them beforehand, so that
it offers nothing else, and shows an endpoint that takes no credential to those alone who may start it.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_incoming.core.records import Integration
from airflow_incoming.services.manage import Manager
from airflow_incoming.services.rights import Stakes, refusals
from airflow_incoming.web.access import Permission, Visitor


@dataclass(frozen=True, kw_only=True, slots=True)
class Rights:
    """Whether a visitor may change, publish, retrieve data for and see the address of an integration.

    ``blocked`` says what keeps someone with the permissions from changing it.
    """

    edit: bool
    publish: bool
    retrieve: bool
    see_url: bool
    blocked: tuple[str, ...]


def rights_on(visitor: Visitor, integration: Integration, manager: Manager) -> Rights:
    """Return what a visitor may do with an integration as it is now.

    What waits counts, too, once something is done with it: to ask for that may take long, so no page does.
    """
    blocked = refusals(visitor, manager.stakes_of_draft(integration.name))
    live = () if integration.published is None else (integration.published.configuration,)
    stakes = manager.stakes_of_draft(integration.name, *live)
    opened = manager.stakes_of_endpoints([integration]).get(integration.name)
    starts_all = not refusals(visitor, stakes)
    edit = not blocked and visitor.may(Permission.EDIT_INTEGRATIONS)
    return Rights(
        edit=edit,
        publish=starts_all and visitor.may(Permission.PUBLISH_INTEGRATIONS),
        retrieve=edit and starts_all,  # what comes to an endpoint is for whoever may start it
        see_url=may_see_url(visitor, integration, opened),
        blocked=blocked,
    )


def may_see_url(visitor: Visitor, integration: Integration, opened: Stakes | None) -> bool:
    """Tell whether a visitor may know the endpoint: where it is open to all, knowing it is enough.

    ``opened`` is what that starts; None where it takes a credential. What starts nothing yet may start
    anything later, so then it is for those who may edit it.
    """
    if opened is None:
        return True
    versions = [each for each in (integration.current, integration.published) if each is not None]
    known = [each.configuration for each in versions if each.configuration.auth.type == "none"]
    is_idle = any(not each.dags and not each.assets for each in known)
    if is_idle and not visitor.may(Permission.EDIT_INTEGRATIONS):
        return False
    return not refusals(visitor, opened)
