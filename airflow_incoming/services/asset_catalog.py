"""The assets that events may update: which of them exist now, under which name and URI."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from functools import lru_cache

from airflow.models.asset import AssetActive
from airflow.serialization.definitions.assets import SerializedAssetUniqueKey
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from airflow_incoming.services.dag_catalog import chunks


def active_assets(session: Session, targets: Collection[str]) -> dict[str, SerializedAssetUniqueKey]:
    """Return the active asset behind each target, a URI or a name, where there is one.

    The URI comes first, as written and as Airflow stores it (``incoming://orders`` becomes
    ``incoming://orders/``), then the name. One statement for up to 500 targets.
    """
    found: dict[str, SerializedAssetUniqueKey] = {}
    for chunk in chunks(sorted(set(targets))):
        uris = {uri for target in chunk for uri in (target, stored_uri(target))}
        rows = session.execute(
            select(AssetActive.name, AssetActive.uri).where(
                or_(AssetActive.uri.in_(uris), AssetActive.name.in_(chunk))
            )
        ).all()
        by_uri = {uri: (name, uri) for name, uri in rows}
        by_name = {name: (name, uri) for name, uri in rows}
        for target in chunk:
            pair = by_uri.get(target) or by_uri.get(stored_uri(target)) or by_name.get(target)
            if pair is not None:
                found[target] = SerializedAssetUniqueKey(name=pair[0], uri=pair[1])
    return found


@lru_cache(maxsize=1024)
def stored_uri(target: str) -> str:
    """Return the spelling under which Airflow stores the URI of ``Asset(target)``."""
    from airflow.sdk import Asset

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(Asset(target).uri)
    except ValueError:  # not a URI that an asset can have, so nothing is stored under it
        return target
