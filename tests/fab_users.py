"""Run inside an Airflow with FAB's auth manager: makes the users that the tests sign in as.

Each user's password is its name. ``viewer`` is FAB's Viewer, granted to look at everything of ours;
``shop`` is granted to change it, too, and to trigger the DAG ``one`` and no other.
"""

from __future__ import annotations

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

OURS = ("Incoming Integrations", "Incoming Publishing", "Incoming Events", "Incoming API Keys")
#: Airflow lists the entries of plugins only to those who may read plugins.
LOOK = [("can_read", name) for name in ("Plugins", *OURS) if name != "Incoming Publishing"]
CHANGE = [("can_edit", resource) for resource in OURS]
SHOP = [
    *CHANGE,
    ("can_read", "Connections"),
    ("can_edit", "Connections"),
    ("can_create", "DAG Runs"),
    ("can_read", "DAG:one"),
    ("can_edit", "DAG:one"),
    # FAB's Viewer without its right to read every DAG.
    ("can_read", "DAG Runs"),
    ("can_read", "Website"),
    ("can_read", "Task Instances"),
]


def main() -> None:
    with get_application_builder() as appbuilder:
        security = appbuilder.sm
        security.sync_roles()

        def grant(role: str, permissions: list[tuple[str, str]]) -> None:
            found = security.find_role(role) or security.add_role(role)
            for action, resource in permissions:
                security.add_permission_to_role(found, security.create_permission(action, resource))

        grant("Looker", LOOK)
        grant("Shop", [*LOOK, *SHOP])
        roles = {"admin": ["Admin"], "viewer": ["Viewer", "Looker"], "stranger": ["Viewer"], "shop": ["Shop"]}
        for name, names in roles.items():
            security.add_user(
                username=name,
                first_name=name,
                last_name="of the tests",
                email=f"{name}@example.com",
                role=[security.find_role(role) for role in names],
                password=name,
            )


main()
