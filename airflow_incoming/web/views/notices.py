"""What a page says once after a change. The address carries the code alone, never a text."""

from __future__ import annotations

#: code: (kind of alert, text)
NOTICES: dict[str, tuple[str, str]] = {
    "created": ("success", "Created as a draft. Define its sections, then save and publish it."),
    "saved": ("success", "Saved as a draft. What is published stays as it is until you publish."),
    "published": ("success", "Published: the endpoint accepts requests."),
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
