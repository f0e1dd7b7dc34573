"""Encryption at rest with Airflow's own ``[core] fernet_key``, which may name several keys."""

from __future__ import annotations

from typing import Any

from airflow_incoming.core.errors import SecretsUnprotected


class FernetCipher:
    """Encrypts with the first of the keys, decrypts with any; Airflow reads them once in a process."""

    def encrypt(self, secret: bytes) -> str:
        """Return the secret encrypted. Raises SecretsUnprotected where no usable key is configured."""
        encrypted: bytes = _fernet().encrypt(secret)
        return encrypted.decode()

    def decrypt(self, encrypted: str) -> bytes:
        """Return the secret. Raises ValueError where it was encrypted with an unknown key."""
        from cryptography.fernet import InvalidToken

        try:
            secret: bytes = _fernet().decrypt(encrypted.encode())
        except (InvalidToken, SecretsUnprotected) as error:
            raise ValueError("encrypted with another key") from error
        return secret

    def is_current(self, encrypted: str) -> bool:
        """Tell whether this was encrypted with the first of the keys."""
        from airflow.configuration import conf
        from cryptography.fernet import Fernet, InvalidToken

        newest = conf.get_mandatory_value("core", "fernet_key").split(",")[0].strip()
        try:
            Fernet(newest.encode()).decrypt(encrypted.encode())
        except (InvalidToken, ValueError):
            return False
        return True


def _fernet() -> Any:
    from airflow.models.crypto import get_fernet
    from airflow.sdk.exceptions import AirflowException

    try:
        fernet = get_fernet()
    except AirflowException as error:
        raise SecretsUnprotected(
            "API keys need [core] fernet_key, and that isn't usable: it must be one or more keys as "
            "cryptography.fernet.Fernet.generate_key() makes them, separated by commas."
        ) from error
    if not fernet.is_encrypted:
        raise SecretsUnprotected(
            "API keys need [core] fernet_key, and that is empty: their secrets are stored encrypted. Set it "
            "for all components of Airflow and restart them."
        )
    return fernet
