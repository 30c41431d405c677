"""Members of WeChat Pay's JSON: what is read, and what is refused by its name."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.errors import MalformedMessage
from payscore_worker.wechatpay.reading import FEN_DIGITS, fen, member_of, members_of, moment, printable, text

READERS: dict[Callable[..., object], tuple[object, str]] = {
    text: ("", "a string"),
    fen: (None, "an amount in whole fen"),
    member_of: ({}, "an object"),
    members_of: ([], "a list of objects"),
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("data", [{}, {"it": None}], ids=["absent", "null"])
def test_what_is_not_there_is_empty(read: Callable[..., object], data: dict[str, object]) -> None:
    assert read(data, "it") == READERS[read][0]


@pytest.mark.parametrize(
    ("read", "value", "named"),
    [
        (text, 1, "int"),
        (fen, "x", "str"),
        (fen, 1.0, "float"),
        (fen, True, "bool"),
        (fen, -1, "int"),
        (member_of, ["secret"], "list"),
        (members_of, "secret", "str"),
        (members_of, [{}, "secret"], "list"),
    ],
)
def test_what_is_of_another_type_is_named_without_its_value(
    read: Callable[..., object], value: object, named: str
) -> None:
    with pytest.raises(MalformedMessage, match=f"^it: expected {READERS[read][1]}, not {named}$"):
        read({"it": value}, "it")


def test_what_is_of_its_type_is_read() -> None:
    data = {"name": "x", "fee": 0, "one": {"a": 1}, "many": [{"a": 1}, {}]}

    assert (text(data, "name"), fen(data, "fee")) == ("x", 0)
    assert (member_of(data, "one"), members_of(data, "one")) == ({"a": 1}, [{"a": 1}])
    assert members_of(data, "many") == [{"a": 1}, {}]


@given(amount=st.integers(0, 10**FEN_DIGITS - 1))
def test_an_amount_is_the_same_as_a_number_and_as_text_of_digits(amount: int) -> None:
    assert fen({"total_amount": amount}, "total_amount") == amount
    assert fen({"total_amount": str(amount)}, "total_amount") == amount


def test_an_absent_amount_is_none() -> None:
    assert fen({}, "total_amount") is None
    assert fen({"total_amount": None}, "total_amount") is None


@pytest.mark.parametrize(
    "amount",
    [
        *("", "-1", "+1", " 1", "1 ", "1\n", "1_000", "1,000", "1.0", "1e3", "0x10", "四", "٤", "４０", "²", "1" * 16),
        *(-1, 1.0, 4000.5, True, False, 10**15, 2**63, [4000], {"fen": 1}),
    ],
)
def test_what_might_be_no_amount_is_refused_by_its_name(amount: object) -> None:
    with pytest.raises(MalformedMessage, match=r"^total_amount: expected an amount in whole fen"):
        fen({"total_amount": amount}, "total_amount")


def test_a_number_without_end_is_refused_as_json_reads_it() -> None:
    with pytest.raises(MalformedMessage, match="total_amount"):
        fen(msgspec.json.decode(b'{"total_amount":' + b"9" * 400 + b"}"), "total_amount")


def test_a_time_is_read_in_either_spelling() -> None:
    eight = datetime(2026, 11, 21, 0, tzinfo=UTC)

    assert moment({"at": "20261121080000"}, "at") == moment({"at": "2026-11-21T08:00:00+08:00"}, "at") == eight
    assert moment({}, "at") is moment({"at": ""}, "at") is None


def test_a_strangers_words_are_shown_short_and_without_power_over_a_terminal() -> None:
    assert printable("\x1b[2J号" + "x" * 100, 6) == "\\x1b[2J\\u53f7x"
