"""Encryption at rest with Airflow's own Fernet keys: the real ones, first the newest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from cryptography.fernet import Fernet

from airflow_incoming.core.errors import SecretsUnprotected
from airflow_incoming.stores.fernet import FernetCipher

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
SECRET = bytes(range(32))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], FernetCipher]]:
    """Configure [core] fernet_key as a restarted process would find it."""
    from airflow.models.crypto import get_fernet

    def configure(fernet_key: str) -> FernetCipher:
        monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", fernet_key)
        get_fernet.cache_clear()
        return FernetCipher()

    yield configure
    get_fernet.cache_clear()


def test_a_secret_is_read_with_any_of_the_keys_and_written_with_the_first(
    use: Callable[[str], FernetCipher],
) -> None:
    """That is what makes a rotation: new in front of old, everything written anew, old removed."""
    by_old = use(OLD).encrypt(SECRET)
    assert Fernet(OLD).decrypt(by_old.encode()) == SECRET
    both = use(f"{NEW},{OLD}")
    assert both.decrypt(by_old) == SECRET
    by_new = both.encrypt(both.decrypt(by_old))
    assert Fernet(NEW).decrypt(by_new.encode()) == SECRET
    assert [both.is_current(stored) for stored in (by_old, by_new, "garbage")] == [False, True, False]
    only_new = use(NEW)
    assert only_new.decrypt(by_new) == SECRET
    with pytest.raises(ValueError, match="another key"):
        only_new.decrypt(by_old)


@pytest.mark.parametrize(
    ("fernet_key", "why"), [("", "is empty"), ("not a key", "isn't usable"), (f"{NEW},x", "isn't usable")]
)
def test_nothing_is_encrypted_without_a_usable_key(
    fernet_key: str, why: str, use: Callable[[str], FernetCipher]
) -> None:
    """Airflow itself would store it in clear; what is stored already can't be read then."""
    stored = use(OLD).encrypt(SECRET)
    cipher = use(fernet_key)
    with pytest.raises(SecretsUnprotected, match=why) as refused:
        cipher.encrypt(SECRET)
    assert "[core] fernet_key" in refused.value.detail
    assert fernet_key not in refused.value.detail or not fernet_key
    with pytest.raises(ValueError, match="another key"):
        cipher.decrypt(stored)
    assert not cipher.is_current(stored)
