"""Opens what WeChat Pay encrypts with the APIv3 key: notifications and platform certificates."""

from base64 import b64decode
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Undecryptable(Exception):
    """No APIv3 key opens it, or it is not of the documented form."""


class Decryptor:
    """AES-256-GCM with the current APIv3 key, then with the previous one (reference payscore-api E.4)."""

    def __init__(self, apiv3_keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in apiv3_keys]

    def decrypt(self, *, ciphertext: str, nonce: str, associated_data: str = "") -> bytes:
        """Open a `resource` or an `encrypt_certificate`, to the byte.

        Raises:
            Undecryptable: a wrong key, damaged text, or other associated data.

        """
        try:
            sealed = b64decode(ciphertext, validate=True)
        except ValueError as error:
            raise Undecryptable("the ciphertext is not base64") from error
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce.encode(), sealed, associated_data.encode())
            except (InvalidTag, ValueError):  # ValueError: a nonce of impossible length
                continue
        raise Undecryptable("no APIv3 key opens it")
