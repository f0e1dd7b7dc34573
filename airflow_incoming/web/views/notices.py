"""What a page says once after a change. The address carries the code alone, never a text."""

from __future__ import annotations

from airflow_incoming.core.records import Integration

#: code: (kind of alert, text)
NOTICES: dict[str, tuple[str, str]] = {
    "created": ("success", "Created as a draft. Define its sections, then save and publish it."),
    "saved": ("success", "Saved as a draft. What is published stays as it is until you publish."),
    "published": ("success", "Published: the endpoint accepts requests."),
    "published-idle": (
        "warning",
        "Published: the endpoint accepts requests, but starts nothing. Choose a DAG, or let watchers listen.",
    ),
    "published-suspended": (
        "warning",
        "Published, and still suspended: events are accepted and held until you resume it.",
    ),
    "unpublished": ("success", "Unpublished: the endpoint answers 404."),
    "suspended": ("success", "Suspended: events are accepted and held."),
    "resumed": ("success", "Resumed: what was held starts now."),
    "deleted": ("success", "Deleted."),
    "unchanged": ("info", "Nothing had changed, so nothing was saved."),
    "rolled-back": ("success", "The old version is your draft now. Publish it to make it live."),
    "replayed": ("success", "The event is on its way again."),
    "forgotten": ("success", "Forgotten: the next request with this hash runs."),
    "not-known": ("info", "This hash was not remembered any more."),
    "key-revoked": ("success", "Revoked: the key opens nothing any more."),
}


def of_published(integration: Integration) -> str:
    """Return the code of what is said once an integration was published."""
    if integration.state == "suspended":
        return "published-suspended"
    configuration = integration.current.configuration
    return "published" if configuration.dags or configuration.assets else "published-idle"
