import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.wechatpay.texts import cap, cap_bytes, clean

texts = st.text(st.characters(exclude_categories=[]), max_size=80)  # surrogates and controls included


@given(text=texts)
def test_clean_text_can_be_sent(text: str) -> None:
    cleaned = clean(text)

    cleaned.encode()  # no half characters
    assert all(" " <= character <= "\uffff" for character in cleaned)


@given(text=texts, chars=st.integers(1, 50))
def test_a_capped_text_is_never_longer_and_is_stable(text: str, chars: int) -> None:
    capped = cap(text, chars)

    assert len(capped) <= chars
    assert cap(capped, chars) == capped


@pytest.mark.parametrize(
    ("given_text", "sent"),
    [
        ("浦东机场T2 🛫出发", "浦东机场T2 出发"),
        ("👨‍👩‍👧 家庭车", "家庭车"),
        ("❤\ufe0f 车", "❤ 车"),
        ("两\r\n行", "两 行"),
        ("a\x00b\x7fc\x9fd", "abcd"),
        ("\u202eevil\u200b", "evil"),
    ],
)
def test_emoji_controls_and_invisible_characters_are_taken_out(given_text: str, sent: str) -> None:
    assert clean(given_text) == sent


def test_characters_count_and_not_bytes() -> None:
    assert cap("汉" * 30, 20) == "汉" * 20


def test_a_text_that_is_cut_ends_in_no_blank() -> None:
    assert cap("浦东 机场", 3) == "浦东"


@given(text=texts, size=st.integers(0, 100))
def test_a_text_capped_by_bytes_is_its_beginning_is_never_longer_and_is_stable(text: str, size: int) -> None:
    capped = cap_bytes(text, size)

    assert clean(text).startswith(capped)
    assert len(capped.encode()) <= size
    assert cap_bytes(capped, size) == capped


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        (0, ""),
        (2, ""),
        (3, "退"),
        (4, "退"),
        (5, "退"),
        (6, "退款"),
        (7, "退款a"),
        (8, "退款a"),
        (11, "退款a 车"),
        (99, "退款a 车"),
    ],
)
def test_bytes_are_counted_and_no_character_is_torn(size: int, sent: str) -> None:
    assert cap_bytes("退款a\n🚕车", size) == sent
