from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.wechatpay.decryption import Decryptor, Undecryptable


@pytest.mark.parametrize(
    ("key", "nonce", "associated_data", "ciphertext", "plaintext"),
    [
        (
            b"a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb",
            "uluk4a9R25RW",
            "associatedData",
            "ulwSiIajGClcvcOYvOQ7+l+0PAbzzwI=",
            b"message",
        ),
        (
            b"testAPIv3Key0000",
            "wCq51qZv4Yfg",
            "Dl56FrqWQJF1t9LtC3vEUsniZKvbqdR8",
            "FsdXzxryWfKwvLJKf8LG/ToRPTRh8RN9wROC",
            b"Hello World",
        ),
        (
            b"0123456789abcdef0123456789abcdef",
            "0123456789abcdef",
            "world",
            "APoZlYpivU3HjbAiB4CvW1rAFr8J",
            b"hello",
        ),
        (b"0123456789abcdef0123456789abcdef", "0123456789abcdef", "", "GvpmmdtYwexXIPhySs9Tlg==", b""),
    ],
    ids=["java", "go", "axios", "axios, empty"],
)
def test_v4_a_published_ciphertext_opens(
    key: bytes, nonce: str, associated_data: str, ciphertext: str, plaintext: bytes
) -> None:
    opened = Decryptor([key]).decrypt(ciphertext=ciphertext, nonce=nonce, associated_data=associated_data)

    # The axios vectors were sealed with a 16-byte nonce and carry their texts through GCM all the same.
    assert opened == plaintext


def test_the_previous_key_opens_what_the_current_one_does_not() -> None:
    previous = b"a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb"
    decryptor = Decryptor([b"0" * 32, previous])

    opened = decryptor.decrypt(
        ciphertext="ulwSiIajGClcvcOYvOQ7+l+0PAbzzwI=", nonce="uluk4a9R25RW", associated_data="associatedData"
    )

    assert opened == b"message"


def test_what_comes_without_associated_data_was_sealed_without() -> None:
    key, nonce = b"k" * 32, b"nonce1234567"
    sealed = b64encode(AESGCM(key).encrypt(nonce, b"message", b"")).decode()

    assert Decryptor([key]).decrypt(ciphertext=sealed, nonce=nonce.decode()) == b"message"


@pytest.mark.parametrize("spelling", ["{}!", "!{}", "{} ", "{}汉"])
def test_a_ciphertext_has_one_spelling(spelling: str) -> None:
    key, nonce = b"k" * 32, b"nonce1234567"
    sealed = b64encode(AESGCM(key).encrypt(nonce, b"message", b"")).decode()

    with pytest.raises(Undecryptable, match=r"^the ciphertext is not base64$"):
        Decryptor([key]).decrypt(ciphertext=spelling.format(sealed), nonce=nonce.decode())


def test_a_wrong_key_is_told_without_the_key() -> None:
    with pytest.raises(Undecryptable, match=r"^no APIv3 key opens it$") as refused:
        Decryptor([b"k" * 32]).decrypt(ciphertext="ulwSiIajGClcvcOYvOQ7+l+0PAbzzwI=", nonce="uluk4a9R25RW")

    assert "kkkk" not in repr(refused.value)


@given(ciphertext=st.text(max_size=60), nonce=st.text(max_size=200), associated_data=st.text(max_size=20))
def test_whatever_cannot_be_opened_is_said_to_be_so(ciphertext: str, nonce: str, associated_data: str) -> None:
    with pytest.raises(Undecryptable):
        Decryptor([b"k" * 32]).decrypt(ciphertext=ciphertext, nonce=nonce, associated_data=associated_data)
