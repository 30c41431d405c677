"""The JSON members of a merchant's request, read by their types and limits."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from payscore_worker.simulator.calls import Call
from payscore_worker.simulator.refusals import Refused, bad_parameter, out_of_range

# Limits count characters, one Chinese character being one (reference payscore-api, conventions). An empty text is
# refused everywhere: a member without a value is left out.
Text20 = Annotated[str, Meta(min_length=1, max_length=20)]
Text30 = Annotated[str, Meta(min_length=1, max_length=30)]
Text32 = Annotated[str, Meta(min_length=1, max_length=32)]
Text50 = Annotated[str, Meta(min_length=1, max_length=50)]
Text100 = Annotated[str, Meta(min_length=1, max_length=100)]
Text128 = Annotated[str, Meta(min_length=1, max_length=128)]
Text256 = Annotated[str, Meta(min_length=1, max_length=256)]
Text512 = Annotated[str, Meta(min_length=1, max_length=512)]
ORDER_NUMBER: Final = re.compile(r"\A[0-9A-Za-z_\-|*]{1,32}\Z")
OrderNumber = Annotated[str, Meta(pattern=ORDER_NUMBER.pattern)]
Fen = Annotated[int, Meta(ge=0)]
PositiveFen = Annotated[int, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1, le=100)]

_FOUR_BYTE_CHARACTER: Final = re.compile(rb"[\xf0-\xff]|\\u[dD][89a-fA-F]")
"""As UTF-8, or as the surrogates by which JSON escapes it."""
_RANGE_ISSUE: Final = re.compile(r"^Expected `\w+` (of length|<=|>=|<|>)")
_MISSING_MEMBER: Final = re.compile(r"^Object missing required field `(?P<name>\w+)`")
_WRONG_TYPE: Final = re.compile(r"^Expected `(?P<type>str|array)[ `]")
_TYPE_TEXTS: Final = {"str": "此字段需要一个 string 类型的 Json 值", "array": "此字段需要 JSON 数组对象"}
"""The two that are known (reference payscore-api B.1)."""
_PLACE: Final = re.compile(r" - at `\$(?P<path>[^`]*)`$")

Entity = dict[str, Any]
"""A JSON object in WeChat Pay's words."""
Shape = TypeVar("Shape", bound=Struct)

_OBJECT: Final = msgspec.json.Decoder(Entity)


@dataclass(frozen=True, slots=True)
class Body:
    members: Entity
    fingerprint: bytes
    """Equal for two bodies that say the same, in whatever order and spacing (reference payscore-api B.10)."""


def read_body(call: Call) -> Body:
    """One JSON object without null, without four-byte characters and without what the path names already."""
    raw = call.body
    if _FOUR_BYTE_CHARACTER.search(raw):
        raise bad_parameter("", "characters that need four bytes of UTF-8 are not supported")
    try:
        members = _OBJECT.decode(raw)
        fingerprint = hashlib.sha256(msgspec.json.encode(members, order="sorted")).digest()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_parameter("", f"not a JSON object: {error}") from None
    if b"null" in raw:
        _refuse_null(members, "")
    refuse_path_parameters(call, members, location="body")
    return Body(members, fingerprint)


def refuse_path_parameters(call: Call, said: Iterable[str], *, location: Literal["body", "query"]) -> None:
    """What the path names is named nowhere else (reference payscore-api B.1)."""
    for name in call.path_parameters:
        if name in said:
            message = _REPEATED.format(name=name, words=_IN_WORDS[name], location=location)
            issue = "named by the path already"
            raise bad_parameter(f"/{name}", issue, location=location, message=message)


_REPEATED: Final = (
    "无法将输入源“/{location}/{name}”映射到目标字段“{words}”中，"
    "此字段并非多重字段但被输入源“/uri_template/{name}”映射过了。"
)
_IN_WORDS: Final = {
    "out_order_no": "商户服务订单号",
    "out_refund_no": "商户退款单号",
    "transaction_id": "微信支付订单号",
    "authorization_code": "授权协议号",
    "openid": "用户标识",
}
"""The first is WeChat Pay's; the others are the simulator's own."""


def shaped(body: Body, shape: type[Shape]) -> Shape:
    """The members that `shape` knows; others are ignored, as WeChat Pay ignores them (reference payscore-api H-6)."""
    try:
        return msgspec.convert(body.members, shape)
    except msgspec.ValidationError as error:
        raise _refusal_of(str(error)) from None


def some_of(members: Entity, names: tuple[str, ...]) -> Entity:
    return {name: members[name] for name in names if name in members}


def refuse_repeated_names(names: Iterable[str], field: str, *, repeatable: frozenset[str] = frozenset()) -> None:
    """The name of an item is unique inside one order (reference payscore-api B.2)."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen and name not in repeatable:
            raise bad_parameter(f"{field}/{index}", f"the name {name!r} appears twice")
        seen.add(name)


def _refusal_of(complaint: str) -> Refused:
    """What msgspec says (`Expected ... - at $.a[0].b`), with the place as a JSON pointer."""
    place = _PLACE.search(complaint)
    issue = _PLACE.sub("", complaint)
    pointer = re.sub(r"[.\[]", "/", place["path"]).replace("]", "") if place else ""
    if missing := _MISSING_MEMBER.match(issue):
        return bad_parameter(f"{pointer}/{missing['name']}", "required member is missing")
    if _RANGE_ISSUE.match(issue):
        return out_of_range(pointer, issue)
    if wrong := _WRONG_TYPE.match(issue):
        return bad_parameter(pointer, issue, message=_TYPE_TEXTS[wrong["type"]])
    return bad_parameter(pointer, issue)


def _refuse_null(value: object, pointer: str) -> None:
    match value:
        case None:
            raise bad_parameter(pointer, "null is not allowed: leave the member out")
        case dict():
            for name, member in value.items():
                _refuse_null(member, f"{pointer}/{name}")
        case list():
            for index, item in enumerate(value):
                _refuse_null(item, f"{pointer}/{index}")
        case _:
            return
