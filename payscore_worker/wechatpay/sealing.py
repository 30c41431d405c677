"""RSA-OAEP: what only WeChat Pay can read, and what only we can (reference payscore-api E.7)."""

from base64 import b64decode, b64encode
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1

_PADDING: Final = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303 - as documented, and not broken in OAEP


class Unsealable(Exception):
    """Our private key does not open it."""


def seal(text: str, key: RSAPublicKey) -> str:
    """Encrypt a short text for whoever has the private key; base64."""
    return b64encode(key.encrypt(text.encode(), _PADDING)).decode()


def unseal(sealed: str, key: RSAPrivateKey) -> str:
    """Decrypt what was encrypted for us.

    Raises:
        Unsealable: it is not base64, for another key, or not text.

    """
    try:
        return key.decrypt(b64decode(sealed, validate=True), _PADDING).decode()
    except ValueError as error:
        raise Unsealable("our private key does not open it") from error
