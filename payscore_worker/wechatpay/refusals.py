"""What an answer that is not a success means: the tables of reference payscore-api F.1, F.2 and G.2, as code.

The HTTP class decides first, then the sub-code, then a code that has one meaning, then the text, then a code that has
many. An unknown code is UNCLEAR: ask first, and park what stays unclear for hours. An answer without a code says
nothing about the order: a proxy made it (F.5 b). What is wrong with the merchant is no refusal of one call (F.5 g).
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

from payscore_worker.errors import MerchantRefused, OutcomeUnknown, Refusal, WechatPayUnavailable

Verdict: TypeAlias = Refusal | type[WechatPayUnavailable] | type[OutcomeUnknown] | type[MerchantRefused]
"""Refused; or not processed, so send it later; or perhaps processed, so send the same bytes or ask; or not us."""

NOT_WECHATPAYS: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    }
)
"""Proxies answer so; of WeChat Pay only 401 SIGN_ERROR is known (reference payscore-api F.5 b)."""

BY_SUB_CODE: Final[Mapping[str, Verdict]] = {
    "271317510": Refusal.ORDER_NOT_FOUND,  # 查询单据不存在
    "271316574": Refusal.WRONG_STATE,  # 支付分扣款失败: WeChat Pay keeps trying; ask
    "271302262": Refusal.WRONG_STATE,  # 当前订单状态不合法
    "271302332": Refusal.WRONG_STATE,
    "271302333": Refusal.WRONG_STATE,
    "268435464": Refusal.INVALID_PARAMETER,  # 参数超出取值范围
    "271316657": Refusal.WRONG_STATE,  # 仅服务订单支付状态为待支付时，才可使用此能力
    "271316598": Refusal.REENTRY_MISMATCH,  # 订单重入参数校验失败
    "271302144": MerchantRefused,  # mch_id 不存在
    "271302149": MerchantRefused,  # mch_id 和 appid 未绑定
    "268435472": WechatPayUnavailable,  # 请求过于频繁
    "271300099": Refusal.RISK_REFUSED,  # 综合评估未通过
    "271299627": Refusal.ARREARS,  # 存在待处理的超时未支付订单
    "268503786": MerchantRefused,  # 当前无权限进行此操作
    "271316592": Refusal.WRONG_STATE,  # 当前订单状态不满足撤销条件
    "270924332": MerchantRefused,  # Authorization 不合法
    "271316754": Refusal.DEBIT_IN_FLIGHT,  # 单据正在扣款中，请稍后重试
    "271316656": Refusal.AMOUNT_OVER_LIMIT,  # 总金额超过此服务的服务风险金额
    "271316637": Refusal.BAD_TIME,  # 真实结束时间小于预计开始时间
    "268560785": Refusal.MINOR_PROTECTED,  # teen mode
}

BY_CODE: Final[Mapping[str, Verdict]] = {
    "INVALID_ORDER_STATE": Refusal.WRONG_STATE,
    "ORDER_CANCELED": Refusal.WRONG_STATE,
    "ORDER_DONE": Refusal.WRONG_STATE,
    "SIGN_ERROR": MerchantRefused,
    "MCH_NOT_EXISTS": MerchantRefused,
    "APPID_MCHID_NOT_MATCH": MerchantRefused,
    "NO_AUTH": Refusal.NOT_PERMITTED,
    "ORDER_NOT_EXIST": Refusal.ORDER_NOT_FOUND,
    "RESOURCE_NOT_EXISTS": Refusal.RESOURCE_NOT_FOUND,
    "NOT_ENOUGH": Refusal.NOT_ENOUGH,
    "USER_ACCOUNT_ABNORMAL": Refusal.ACCOUNT_ABNORMAL,
    "FREQUENCY_LIMITED": WechatPayUnavailable,
    "RATELIMIT_EXCEEDED": WechatPayUnavailable,
    "RATELIMIT_EXCEED": WechatPayUnavailable,
    "RATE_LIMITED": WechatPayUnavailable,
    "SYSTEM_ERROR": OutcomeUnknown,
}
"""Codes with one meaning, as far as the next table does not say otherwise."""

BY_CODE_AND_TEXT: Final[tuple[tuple[str, str, Verdict], ...]] = (
    ("NO_AUTH", "请检查服务授权状态", MerchantRefused),  # wrong service id, or no such permission (C.2)
    ("NO_AUTH", "行业类型", MerchantRefused),  # the service is for another industry (F.1)
    ("NOT_ENOUGH", "平台证书已过期", MerchantRefused),  # of the list of certificates, and not of a balance (E.5)
    ("RESOURCE_NOT_EXISTS", "证书", Refusal.UNCLEAR),  # of the list of certificates, and not of a refund (E.5)
    ("ORDER_NOT_EXIST", "授权记录不存在", Refusal.NOT_ENABLED),  # never authorised: a normal answer (C.2)
)
"""A code, and a part of its text, without spaces."""

BY_TEXT: Final[tuple[tuple[str, Verdict], ...]] = (
    ("综合评估未通过", Refusal.RISK_REFUSED),
    ("超时未支付订单", Refusal.ARREARS),
    ("进行中的订单", Refusal.TOO_MANY_ORDERS),  # wording unconfirmed: the reference gives no text (B.3)
    ("青少年", Refusal.MINOR_PROTECTED),  # wording unconfirmed
    ("未成年", Refusal.MINOR_PROTECTED),  # wording unconfirmed
    ("订单重入参数校验失败", Refusal.REENTRY_MISMATCH),
    ("正在扣款中", Refusal.DEBIT_IN_FLIGHT),
    ("收款结果不明", Refusal.DEBIT_IN_FLIGHT),
    ("超过此服务的服务风险金额", Refusal.AMOUNT_OVER_LIMIT),
    ("真实结束时间小于预计开始时间", Refusal.BAD_TIME),
    ("实际结束时间不能晚于", Refusal.BAD_TIME),
    ("结束时间必填", Refusal.INVALID_PARAMETER),
    ("总金额计算非法", Refusal.INVALID_PARAMETER),
    ("参数超出取值范围", Refusal.INVALID_PARAMETER),
    ("状态不合法", Refusal.WRONG_STATE),
    ("状态不满足", Refusal.WRONG_STATE),
    ("支付状态为待支付时", Refusal.WRONG_STATE),
    ("扣款失败", Refusal.WRONG_STATE),
    ("单据不存在", Refusal.ORDER_NOT_FOUND),
    ("存在未完成订单", Refusal.WRONG_STATE),  # of the end of an authorisation (C.4)
    ("未开启服务", Refusal.NOT_ENABLED),  # NO_AUTH of an unauthorised user in other words (F.1)
    ("逐步开放中", Refusal.NOT_PERMITTED),  # not launched: only for passengers on the list of testers (B.3)
    ("无权限", MerchantRefused),
    ("mch_id不存在", MerchantRefused),
    ("未绑定", MerchantRefused),
    ("Authorization不合法", MerchantRefused),
    ("Wechatpay-Serial错误", MerchantRefused),
    ("平台证书已过期", MerchantRefused),
    ("请求过于频繁", WechatPayUnavailable),
    ("稍后重试", OutcomeUnknown),  # the general advice comes last: more telling texts carry it too
    ("稍后再试", OutcomeUnknown),
)
"""Parts of the texts under codes with many meanings, without spaces; the first that fits decides."""

BY_VAGUE_CODE: Final[Mapping[str, Verdict]] = {
    "PARAM_ERROR": Refusal.INVALID_PARAMETER,
    "INVALID_REQUEST": Refusal.UNCLEAR,
}
"""Codes with many meanings, when neither sub-code nor text says more."""


def classify(*, status: int, code: str, message: str, request_id: str) -> Verdict:
    """Decide what follows from an answer that is not a success."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return WechatPayUnavailable if code else OutcomeUnknown  # a proxy may have throttled the answer
    if not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return OutcomeUnknown
    if is_foreign(status=status, code=code):
        return OutcomeUnknown
    spelling = _spelling(code)
    return (
        BY_SUB_CODE.get(request_id.rpartition("-")[2])
        or _by_code_and_text(spelling, message)
        or _BY_SPELLING.get(spelling)
        or _by_text(message)
        or _BY_VAGUE_SPELLING.get(spelling)
        or Refusal.UNCLEAR
    )


def is_foreign(*, status: int, code: str) -> bool:
    """Tell whether an answer that is no success may be somebody else's than WeChat Pay's."""
    if not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return False
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return False
    return not code or (status in NOT_WECHATPAYS and _spelling(code) != _SIGN_ERROR)


def code_label(code: str) -> str:
    """Name the code as metrics may: the tables' own spelling, `other` for one that no table knows."""
    return _SPELLINGS.get(_spelling(code), "other") if code else ""


def _by_code_and_text(spelling: str, message: str) -> Verdict | None:
    message = _without_spaces(message)
    fits = (verdict for code, part, verdict in BY_CODE_AND_TEXT if _spelling(code) == spelling and part in message)
    return next(fits, None)


def _by_text(message: str) -> Verdict | None:
    message = _without_spaces(message)
    return next((verdict for part, verdict in BY_TEXT if part in message), None)


def _without_spaces(message: str) -> str:
    return re.sub(r"\s", "", message)


def _spelling(code: str) -> str:
    """Make one spelling of `ORDER_NOT_ EXIST` and `ORDER_NOT_EXIST`, of `SYSTEMERROR` and `SYSTEM_ERROR`."""
    return re.sub(r"[\s_]", "", code).upper()


_SIGN_ERROR: Final = _spelling("SIGN_ERROR")
_BY_SPELLING: Final = {_spelling(code): verdict for code, verdict in BY_CODE.items()}
_SPELLINGS: Final = {_spelling(code): code for code in (*BY_CODE, *BY_VAGUE_CODE)}
_BY_VAGUE_SPELLING: Final = {_spelling(code): verdict for code, verdict in BY_VAGUE_CODE.items()}
