"""What WeChat Pay's JSON may hold where we read it, and how what it may not hold is named."""

from collections.abc import Callable

import pytest

from payscore_worker.errors import MalformedMessage
from payscore_worker.wechatpay.reading import fen, member_of, members_of, text

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
        (fen, "1", "str"),
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
