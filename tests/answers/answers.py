"""The table of answers: all that WeChat Pay, or somebody on the way, may say to a call (reference F.1, F.2, F.5)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from payscore_worker.simulator import CallKind, Fault, FaultKind

QUESTIONS: Final = frozenset(
    {CallKind.USER_SERVICE_STATE, CallKind.QUERY_PERMISSION, CallKind.QUERY, CallKind.REFUND_QUERY}
)
CHANGES: Final = frozenset(
    {CallKind.CREATE, CallKind.COMPLETE, CallKind.CANCEL, CallKind.MODIFY, CallKind.SYNC, CallKind.REFUND}
)
ALL_CALLS: Final = QUESTIONS | CHANGES
OF_REFUNDS: Final = frozenset({CallKind.REFUND, CallKind.REFUND_QUERY})
OPENING: Final = frozenset({CallKind.USER_SERVICE_STATE, CallKind.QUERY_PERMISSION, CallKind.CREATE})

TRIES: Final = 3
"""The quick ones of the client: when all of them lose their reply, the outcome is unknown (`client.TRIES`)."""

TOO_LATE_SECONDS: Final = 40.0
"""Longer than the client waits for a try."""


class Cause(StrEnum):
    """Whose fault the answer is, which decides who may be troubled by it."""

    MERCHANT = "merchant"
    """WeChat Pay refuses the merchant, whatever is asked: everything waits (reference F.5 g)."""
    WAY = "way"
    """Nothing of WeChat Pay's was said, or nothing that can be believed: everything waits (reference F.5 b)."""
    WEATHER = "weather"
    """Throttled, out of order, try later."""
    ORDER = "order"
    """Something is wrong with this order, or with these bytes."""
    PASSENGER = "passenger"
    """WeChat Pay will not serve this passenger, or this amount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of the table."""

    name: str
    cause: Cause
    fault: FaultKind = FaultKind.REFUSE
    members: Mapping[str, Any] = field(default_factory=dict)
    calls: frozenset[CallKind] = ALL_CALLS
    """Those that it can be given to."""
    first: Sequence[FaultKind] = ()
    """What the call meets before it is answered so."""
    lags: bool = False
    """The next question about the order finds a replica that does not know it yet."""

    @property
    def lasts_for_all(self) -> bool:
        """Whether it strikes whatever is asked, for as long as it lasts."""
        return self.cause in {Cause.MERCHANT, Cause.WAY} and self.fault in {FaultKind.REFUSE, FaultKind.PROXY}

    def faults(self, call: str, **extent: Any) -> list[Fault]:
        """Write it as the simulator plays it: first what comes before, then the answer."""
        targets = {name: value for name, value in extent.items() if name in {"out_order_no", "openid", "host"}}
        before = [Fault(kind, call=call, **targets) for kind in self.first]
        lag = [Fault(FaultKind.NOT_YET, call=CallKind.QUERY, out_order_no=extent["out_order_no"])] if self.lags else []
        return [*before, *lag, Fault(self.fault, call=call, **self.members, **extent)]


# --- Refusals, by code and by sub-code ---


def _refusal(name: str, status: int, code: str, message: str, cause: Cause, **more: Any) -> Answer:
    calls = more.pop("calls", ALL_CALLS)
    members = {"status": status, "code": code, "message": message, **more}
    return Answer(name=name, cause=cause, members=members, calls=calls)


CODES: Final = (
    _refusal("PARAM_ERROR", 400, "PARAM_ERROR", "参数错误", Cause.ORDER),
    _refusal("PARAM_ERROR, re-entry", 400, "PARAM_ERROR", "订单重入参数校验失败", Cause.ORDER, calls=CHANGES),
    _refusal("PARAM_ERROR, state", 400, "PARAM_ERROR", "当前订单状态不合法", Cause.ORDER, calls=CHANGES),
    _refusal(
        "PARAM_ERROR, sum", 400, "PARAM_ERROR", "最终总金额计算非法", Cause.ORDER, calls=frozenset({CallKind.COMPLETE})
    ),
    _refusal(
        "PARAM_ERROR, ticket", 400, "PARAM_ERROR", "校验完结凭证错误", Cause.ORDER, calls=frozenset({CallKind.COMPLETE})
    ),
    _refusal(
        "PARAM_ERROR, end time",
        400,
        "PARAM_ERROR",
        "实际结束时间不能晚于使用完结接口的时间",
        Cause.ORDER,
        calls=frozenset({CallKind.COMPLETE}),
    ),
    _refusal("INVALID_REQUEST", 400, "INVALID_REQUEST", "其他原因185", Cause.ORDER),
    _refusal("INVALID_REQUEST, later", 400, "INVALID_REQUEST", "请求异常,请稍后重试", Cause.WEATHER),
    _refusal("INVALID_REQUEST, no service", 400, "INVALID_REQUEST", "用户未开启服务", Cause.PASSENGER, calls=OPENING),
    _refusal("INVALID_REQUEST, risk", 400, "INVALID_REQUEST", "综合评估未通过", Cause.PASSENGER, calls=OPENING),
    _refusal(
        "INVALID_REQUEST, too many orders",
        400,
        "INVALID_REQUEST",
        "用户进行中的订单数量超过上限",
        Cause.PASSENGER,
        calls=OPENING,
    ),
    _refusal("INVALID_ORDER_STATE", 400, "INVALID_ORDER_STATE", "当前订单状态不合法", Cause.ORDER),
    _refusal("ORDER_CANCELED", 400, "ORDER_CANCELED", "订单已取消", Cause.ORDER),
    _refusal("ORDER_DONE", 400, "ORDER_DONE", "订单已完成", Cause.ORDER),
    _refusal("MCH_NOT_EXISTS", 400, "MCH_NOT_EXISTS", "商户号不存在", Cause.MERCHANT),
    _refusal("MCH_NOT_EXISTS, 404", 404, "MCH_NOT_EXISTS", "商户号不存在", Cause.MERCHANT),
    _refusal("APPID_MCHID_NOT_MATCH", 400, "APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配", Cause.MERCHANT),
    _refusal("SIGN_ERROR", 401, "SIGN_ERROR", "签名错误", Cause.MERCHANT),
    _refusal("NO_AUTH, service", 403, "NO_AUTH", "商户暂无权限使用此服务", Cause.MERCHANT),
    _refusal("NO_AUTH, authorisation", 403, "NO_AUTH", "请检查服务授权状态", Cause.MERCHANT),
    _refusal(
        "NO_AUTH, industry",
        403,
        "NO_AUTH",
        "此服务ID所属一级行业类型和API接口填写的行业类型不一致",
        Cause.MERCHANT,
    ),
    _refusal("ORDER_NOT_EXIST", 404, "ORDER_NOT_EXIST", "查询单据不存在", Cause.ORDER),
    _refusal("ORDER_NOT_ EXIST", 404, "ORDER_NOT_ EXIST", "查询单据不存在", Cause.ORDER),
    _refusal(
        "ORDER_NOT_EXIST, no authorisation", 404, "ORDER_NOT_EXIST", "授权记录不存在", Cause.PASSENGER, calls=OPENING
    ),
    _refusal("FREQUENCY_LIMITED", 429, "FREQUENCY_LIMITED", "频率限制", Cause.WEATHER),
    _refusal("RATELIMIT_EXCEEDED", 429, "RATELIMIT_EXCEEDED", "频率超限", Cause.WEATHER),
    _refusal("SYSTEM_ERROR", 500, "SYSTEM_ERROR", "系统错误", Cause.WEATHER),
    _refusal("SYSTEMERROR", 500, "SYSTEMERROR", "系统错误", Cause.WEATHER),
    _refusal("SERVICE_UNAVAILABLE, 502", 502, "SERVICE_UNAVAILABLE", "服务不可用", Cause.WEATHER),
    _refusal("SERVICE_UNAVAILABLE, 503", 503, "SERVICE_UNAVAILABLE", "服务过载保护", Cause.WEATHER),
    _refusal("SERVICE_UNAVAILABLE, 504", 504, "SERVICE_UNAVAILABLE", "服务超时", Cause.WEATHER),
    _refusal("RESOURCE_NOT_EXISTS", 404, "RESOURCE_NOT_EXISTS", "退款单不存在", Cause.ORDER, calls=OF_REFUNDS),
    _refusal("NOT_ENOUGH", 403, "NOT_ENOUGH", "商户可用退款余额不足", Cause.ORDER, calls=OF_REFUNDS),
    _refusal("USER_ACCOUNT_ABNORMAL", 403, "USER_ACCOUNT_ABNORMAL", "用户账户异常", Cause.ORDER, calls=OF_REFUNDS),
    _refusal("a code that no table knows", 400, "SOMETHING_NEW", "新的错误", Cause.ORDER),
)
"""Reference F.1, and of refunds G.2."""

_SUB_CODES: Final[tuple[tuple[int, int, str, str, Cause, frozenset[CallKind]], ...]] = (
    (271317510, 404, "ORDER_NOT_EXIST", "查询单据不存在", Cause.ORDER, ALL_CALLS),
    (271316574, 400, "INVALID_REQUEST", "支付分扣款失败", Cause.ORDER, ALL_CALLS),
    (271302262, 400, "INVALID_REQUEST", "当前订单状态不合法", Cause.ORDER, ALL_CALLS),
    (271302332, 400, "INVALID_REQUEST", "当前订单状态不合法,订单状态为确认状态", Cause.ORDER, ALL_CALLS),
    (271302333, 400, "INVALID_REQUEST", "当前订单状态不合法,订单状态为取消状态", Cause.ORDER, ALL_CALLS),
    (268435464, 400, "PARAM_ERROR", "参数超出取值范围", Cause.ORDER, ALL_CALLS),
    (
        271316657,
        400,
        "INVALID_REQUEST",
        "仅服务订单支付状态为待支付时，才可使用此能力",
        Cause.ORDER,
        ALL_CALLS,
    ),
    (271316598, 400, "INVALID_REQUEST", "订单重入参数校验失败", Cause.ORDER, CHANGES),
    (271302144, 400, "PARAM_ERROR", "mch_id不存在", Cause.MERCHANT, ALL_CALLS),
    (271302149, 403, "NO_AUTH", "mch_id和appid未绑定", Cause.MERCHANT, ALL_CALLS),
    (268435472, 400, "INVALID_REQUEST", "请求过于频繁", Cause.WEATHER, ALL_CALLS),
    (271300099, 400, "INVALID_REQUEST", "综合评估未通过", Cause.PASSENGER, OPENING),
    (271299627, 400, "INVALID_REQUEST", "存在待处理的超时未支付订单", Cause.PASSENGER, OPENING),
    (268503786, 403, "NO_AUTH", "当前无权限进行此操作", Cause.MERCHANT, ALL_CALLS),
    (271316592, 400, "INVALID_REQUEST", "当前订单状态不满足撤销条件", Cause.ORDER, CHANGES),
    (270924332, 401, "SIGN_ERROR", "Authorization不合法", Cause.MERCHANT, ALL_CALLS),
    (271316754, 400, "INVALID_REQUEST", "单据正在扣款中，请稍后重试", Cause.WEATHER, ALL_CALLS),
    (
        271316656,
        400,
        "INVALID_REQUEST",
        "总金额超过此服务的服务风险金额",
        Cause.PASSENGER,
        frozenset({CallKind.CREATE, CallKind.COMPLETE}),
    ),
    (271316637, 400, "PARAM_ERROR", "真实结束时间小于预计开始时间", Cause.ORDER, frozenset({CallKind.COMPLETE})),
    (268560785, 400, "INVALID_REQUEST", "青少年模式下无法使用此功能", Cause.PASSENGER, OPENING),
)

SUB_CODES: Final = tuple(
    _refusal(f"sub-code {sub_code}", status, code, message, cause, sub_code=sub_code, calls=calls)
    for sub_code, status, code, message, cause, calls in _SUB_CODES
)
"""Reference F.2."""

# --- Not WeChat Pay's ---

STATUSES: Final = (400, 401, 403, 404, 405, 407, 408, 413, 429, 499, 502, 503, 504)
BARE_STATUSES: Final = (400, 401, 403, 404, 407, 408, 413, 429, 502)
"""Answered empty, and with JSON of somebody else's, too."""


def _proxies() -> Iterator[Answer]:
    for variant, statuses in (("html", (200, *STATUSES)), ("empty", BARE_STATUSES), ("json", BARE_STATUSES)):
        for status in statuses:
            cause = Cause.WEATHER if status == 429 else Cause.WAY
            members = {"status": status, "variant": variant}
            yield Answer(name=f"{variant} {status}", cause=cause, fault=FaultKind.PROXY, members=members)


PROXIES: Final = tuple(_proxies())
"""Reference F.5 b."""

# --- Signed badly, or signed and not so ---


def _falsehoods() -> Iterator[Answer]:
    for kind, name in (
        (FaultKind.UNSIGNED, "unsigned"),
        (FaultKind.BAD_SIGNATURE, "badly signed"),
        (FaultKind.SIGNTEST, "signed as a probe"),
        (FaultKind.WRONG_SERIAL, "signed with an unknown key"),
        (FaultKind.CLOCK_SKEW, "signed ten minutes ahead"),
        (FaultKind.DROP_REPLY, "lost after processing"),
        (FaultKind.FAIL_AFTER, "SYSTEM_ERROR after processing"),
    ):
        yield Answer(name=name, cause=Cause.WAY, fault=kind)
    yield Answer(name="slow", cause=Cause.WEATHER, fault=FaultKind.SLOW, members={"seconds": 5.0})
    yield Answer(name="too slow", cause=Cause.WEATHER, fault=FaultKind.SLOW, members={"seconds": TOO_LATE_SECONDS})
    for variant in ("not_json", "not_utf8", "empty", "array", "empty_object", "wrong_types"):
        name = f"signed and unreadable, {variant.replace('_', ' ')}"
        yield Answer(name=name, cause=Cause.WAY, fault=FaultKind.UNREADABLE, members={"variant": variant})
    for member in ("out_order_no", "mchid", "appid", "service_id"):
        calls = ALL_CALLS - OF_REFUNDS - {CallKind.QUERY_PERMISSION}
        if member in {"out_order_no", "mchid"}:
            calls -= {CallKind.USER_SERVICE_STATE}
        name, members = f"about another {member}", {"variant": member}
        yield Answer(name=name, cause=Cause.WAY, fault=FaultKind.ANOTHER_ORDER, members=members, calls=calls)
    yield Answer(
        name="about another out_refund_no",
        cause=Cause.WAY,
        fault=FaultKind.ANOTHER_ORDER,
        members={"variant": "out_refund_no"},
        calls=OF_REFUNDS,
    )
    for kind, name in (
        (FaultKind.STALE, "stale"),
        (FaultKind.NOT_YET, "not there yet"),
        (FaultKind.AMOUNT_DIFFERS, "about another amount"),
    ):
        yield Answer(name=name, cause=Cause.ORDER, fault=kind, calls=frozenset({CallKind.QUERY, CallKind.REFUND_QUERY}))


FALSEHOODS: Final = tuple(_falsehoods())

# --- Refused after it was done, and contradictions ---


def _lies() -> Iterator[Answer]:
    """Every refusal, and a proxy's page, of a call that was processed."""
    for answer in (*CODES, *SUB_CODES, *(one for one in PROXIES if one.name.startswith("html"))):
        calls = answer.calls & CHANGES
        if calls and answer.members["status"] != 200:
            yield replace(answer, name=f"{answer.name}, after", members={**answer.members, "after": True}, calls=calls)


LIES: Final = tuple(_lies())

_SAID_AFTERWARDS: Final = (
    "PARAM_ERROR",
    "INVALID_REQUEST",
    "INVALID_REQUEST, risk",
    "INVALID_REQUEST, too many orders",
    "INVALID_REQUEST, no service",
    "INVALID_ORDER_STATE",
    "ORDER_CANCELED",
    "ORDER_DONE",
    "NO_AUTH, service",
    "ORDER_NOT_EXIST",
    "SIGN_ERROR",
    "sub-code 271300099",
    "sub-code 271316598",
    "sub-code 271316656",
    "html 403",
    "html 404",
)


_SAID_IN_DOUBT: Final = ("PARAM_ERROR", "INVALID_REQUEST, risk", "sub-code 271316598", "sub-code 271316656")
"""After attempts of which nobody knows, and which came to nothing."""

_SAID_OF_A_NEW_ORDER: Final = (
    "PARAM_ERROR",
    "INVALID_REQUEST, no service",
    "INVALID_REQUEST, too many orders",
    "NO_AUTH, service",
    "sub-code 271300099",
)


def _contradictions() -> Iterator[Answer]:
    """What was said before, or is said to the next question, tells otherwise."""
    known = {answer.name: answer for answer in (*CODES, *SUB_CODES, *PROXIES)}
    for name in _SAID_AFTERWARDS:
        lost, calls = (FaultKind.DROP_REPLY,) * TRIES, known[name].calls & CHANGES
        yield replace(known[name], name=f"lost, then {name}", first=lost, calls=calls)
    for name in _SAID_IN_DOUBT:
        failed, calls = (FaultKind.FAIL_BEFORE,) * TRIES, known[name].calls & CHANGES
        yield replace(known[name], name=f"SYSTEM_ERROR, then {name}", first=failed, calls=calls)
    for name in _SAID_OF_A_NEW_ORDER:
        answer = known[name]
        members, calls = {**answer.members, "after": True}, frozenset({CallKind.CREATE})
        yield replace(answer, name=f"{name}, after, and not there yet", members=members, calls=calls, lags=True)


CONTRADICTIONS: Final = tuple(_contradictions())

GROUPS: Final[Mapping[str, Sequence[Answer]]] = {
    "codes": CODES,
    "sub-codes": SUB_CODES,
    "proxies": PROXIES,
    "falsehoods": FALSEHOODS,
    "lies": LIES,
    "contradictions": CONTRADICTIONS,
}

ANSWERS: Final[Mapping[str, Answer]] = {answer.name: answer for group in GROUPS.values() for answer in group}
