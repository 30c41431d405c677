"""What is sealed for one side is opened by that side alone."""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from payscore_worker.wechatpay.sealing import Unsealable, seal, unseal
from tests.unit.wechatpay.wechat import a_key

DOCUMENTED = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303 - reference payscore-api E.7
ANOTHER = OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None)


def sealed_with(padding: OAEP, content: bytes) -> str:
    return b64encode(a_key("wechat").public_key().encrypt(content, padding)).decode()


def test_a_text_is_opened_by_whoever_has_the_key() -> None:
    sealed = seal("师傅，到静安寺", a_key("wechat").public_key())

    assert sealed.isascii()
    assert unseal(sealed, a_key("wechat")) == "师傅，到静安寺"


def test_the_same_text_never_looks_the_same() -> None:
    key = a_key("wechat").public_key()

    assert seal("hello", key) != seal("hello", key)


def test_only_what_is_sealed_as_documented_is_opened() -> None:
    assert unseal(sealed_with(DOCUMENTED, b"plaintext"), a_key("wechat")) == "plaintext"
    with pytest.raises(Unsealable):
        unseal(sealed_with(ANOTHER, b"plaintext"), a_key("wechat"))


@pytest.mark.parametrize("sealed", ["MTIzNA==", "", "no base64", "é" * 4])
def test_what_is_not_sealed_is_not_opened(sealed: str) -> None:
    with pytest.raises(Unsealable):
        unseal(sealed, a_key("wechat"))


def test_what_is_no_base64_is_not_opened_though_what_is_left_of_it_could_be() -> None:
    with pytest.raises(Unsealable, match=r"^our private key does not open it$"):
        unseal(seal("hello", a_key("wechat").public_key()) + "!", a_key("wechat"))


def test_what_is_sealed_for_another_is_not_opened() -> None:
    with pytest.raises(Unsealable):
        unseal(seal("hello", a_key("another").public_key()), a_key("wechat"))


def test_what_is_not_text_is_not_opened() -> None:
    with pytest.raises(Unsealable):
        unseal(sealed_with(DOCUMENTED, b"\xff\xfe"), a_key("wechat"))
