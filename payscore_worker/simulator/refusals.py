"""Every way WeChat Pay says no (reference payscore-api F.1 and F.2)."""

from dataclasses import dataclass
from typing import Final

PATH_PARAMETERS: Final = {"out_order_no": "商户服务订单号", "authorization_code": "授权协议号", "openid": "用户标识"}
"""What WeChat Pay calls them in a refusal; of the last two the names are the simulator's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """Where the trouble lies: a JSON pointer, a query parameter or a header."""

    field: str
    issue: str
    location: str = "body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    status: int
    code: str
    message: str
    sub_code: int = 0
    """The digits after the last '-' of Request-ID; 0 where the reference knows none."""
    detail: Detail | None = None


class Refused(Exception):
    """The call is answered with this refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal: Final = refusal


def bad_parameter(field: str, issue: str, *, location: str = "body", message: str = "参数错误") -> Refused:
    detail = Detail(field=field, issue=issue, location=location)
    return Refused(Refusal(status=400, code="PARAM_ERROR", message=message, detail=detail))


def out_of_range(field: str, issue: str) -> Refused:
    detail = Detail(field=field, issue=issue)
    refusal = Refusal(status=400, code="PARAM_ERROR", message="参数超出取值范围", sub_code=268435464, detail=detail)
    return Refused(refusal)


def sign_error(message: str = "Authorization 不合法") -> Refused:
    return Refused(Refusal(status=401, code="SIGN_ERROR", message=message, sub_code=270924332))


def wrong_state(sub_code: int, *, code: str = "INVALID_ORDER_STATE") -> Refused:
    """The code is PARAM_ERROR on complete (reference payscore-api F.1)."""
    return Refused(Refusal(status=400, code=code, message="当前订单状态不合法", sub_code=sub_code))


NO_PERMISSION: Final = Refusal(status=403, code="NO_AUTH", message="商户暂无权限使用此服务")
"""Wrong mode, wrong service, passenger not authorised: WeChat Pay does not say which (reference payscore-api H-7)."""
SERVICE_NOT_ENABLED: Final = Refusal(status=400, code="INVALID_REQUEST", message="用户未开启服务")
"""The other spelling for a passenger who is not authorised (reference payscore-api F.1)."""
SERVICE_NOT_AUTHORISABLE: Final = Refusal(status=403, code="NO_AUTH", message="请检查服务授权状态")
"""Of the calls about permissions: a wrong service (reference payscore-api C.2)."""
PERMISSION_NOT_EXIST: Final = Refusal(status=404, code="ORDER_NOT_EXIST", message="请求操作的授权记录不存在")
CODE_REENTRY_MISMATCH: Final = Refusal(status=400, code="INVALID_REQUEST", message="授权协议号重入参数校验失败")
CODE_SIGNED: Final = Refusal(status=400, code="INVALID_REQUEST", message="授权协议号已被使用")
"""Both texts are the simulator's own; the code is that of a number used with other parameters (reference F.1)."""
APPID_NOT_BOUND: Final = Refusal(status=403, code="NO_AUTH", message="mch_id 和 appid 未绑定", sub_code=271302149)
WRONG_PLATFORM_SERIAL: Final = Refusal(status=400, code="PARAM_ERROR", message="平台证书序列号Wechatpay-Serial错误")
"""The header names no key of WeChat Pay's, where something is sealed with one (reference payscore-api E.7)."""
ORDER_NOT_EXIST: Final = Refusal(status=404, code="ORDER_NOT_EXIST", message="查询单据不存在", sub_code=271317510)

RISK_REFUSED: Final = Refusal(status=400, code="INVALID_REQUEST", message="综合评估未通过", sub_code=271300099)
ARREARS: Final = Refusal(status=400, code="INVALID_REQUEST", message="存在待处理的超时未支付订单", sub_code=271299627)
TOO_MANY_ORDERS: Final = Refusal(status=400, code="INVALID_REQUEST", message="用户进行中的订单数量超过上限")
MINOR_PROTECTED: Final = Refusal(
    status=400, code="INVALID_REQUEST", message="青少年模式下无法使用此功能", sub_code=268560785
)

REENTRY_MISMATCH: Final = Refusal(
    status=400, code="INVALID_REQUEST", message="订单重入参数校验失败", sub_code=271316598
)
COMPLETE_REENTRY_MISMATCH: Final = Refusal(
    status=400, code="PARAM_ERROR", message="订单重入参数校验失败", sub_code=271316598
)
WRONG_SUM: Final = Refusal(status=400, code="PARAM_ERROR", message="最终总金额计算非法")
AMOUNT_OVER_LIMIT: Final = Refusal(
    status=400, code="INVALID_REQUEST", message="总金额超过此服务的服务风险金额", sub_code=271316656
)
END_TIME_MISSING: Final = Refusal(status=400, code="PARAM_ERROR", message="创建订单未填写服务结束时间,则结束时间必填")
END_IN_THE_FUTURE: Final = Refusal(status=400, code="PARAM_ERROR", message="实际结束时间不能晚于使用完结接口的时间")
END_BEFORE_START: Final = Refusal(
    status=400, code="PARAM_ERROR", message="真实结束时间小于预计开始时间", sub_code=271316637
)

STATE_NOT_ALLOWED: Final = 271302262
STATE_STILL_CONFIRM: Final = 271302332
STATE_CANCELLED: Final = 271302333
"""Sub-codes of a wrong state."""
NOT_CANCELLABLE: Final = Refusal(
    status=400, code="INVALID_REQUEST", message="当前订单状态不满足撤销条件", sub_code=271316592
)
ORDER_CANCELED: Final = Refusal(status=400, code="ORDER_CANCELED", message="订单已取消", sub_code=271302333)
NOT_MODIFIABLE: Final = Refusal(
    status=400,
    code="INVALID_REQUEST",
    message="仅服务订单支付状态为待支付时，才可使用此能力",
    sub_code=271316657,
)
MODIFIED_BEFORE: Final = Refusal(status=400, code="INVALID_REQUEST", message="订单金额只能修改一次")
"""The simulator's own text: the reference knows the rule, and not what is answered (reference payscore-api B.8)."""
MESSAGE_SENT: Final = Refusal(status=400, code="INVALID_REQUEST", message="同一订单的同类消息只能发送一次")
"""The simulator's own text likewise (reference payscore-api B.9)."""
TRANSACTION_NOT_EXIST: Final = Refusal(status=404, code="ORDER_NOT_EXIST", message="订单不存在")
"""Of a query about a transaction; also where the mchid is another's (reference ordinary-payment-api 4)."""

# The reference names the codes of refunds and few of their texts and HTTP statuses (payscore-api G.2): where it says
# nothing, the text is the simulator's own. `re-entry` has its sub-code from ordinary payments, which share the call.
NO_SUCH_TRANSACTION: Final = Refusal(status=404, code="RESOURCE_NOT_EXISTS", message="订单不存在")
NO_SUCH_REFUND: Final = Refusal(status=404, code="RESOURCE_NOT_EXISTS", message="退款单不存在")
REFUND_REENTRY_MISMATCH: Final = Refusal(
    status=400, code="INVALID_REQUEST", message="退款单号已使用，且参数与首次请求不一致", sub_code=268498688
)
ONLY_DEPOSITS: Final = Refusal(status=400, code="INVALID_REQUEST", message="仅对出行预付押金退款适用")
TOTAL_DIFFERS: Final = Refusal(status=400, code="INVALID_REQUEST", message="订单金额与原支付交易不一致")
PAID_TOO_LONG_AGO: Final = Refusal(status=400, code="INVALID_REQUEST", message="交易时间超过365天，不可退款")
OVER_THE_REMAINING: Final = Refusal(status=400, code="INVALID_REQUEST", message="退款金额大于可退金额")
TOO_MANY_REFUNDS: Final = Refusal(status=400, code="INVALID_REQUEST", message="一笔交易最多退款50次")
REFUND_TOO_SOON: Final = Refusal(
    status=429, code="FREQUENCY_LIMITED", message="该笔退款未受理，请降低频率后重试", sub_code=268435472
)
REFUNDS_TOO_CLOSE: Final = Refusal(status=400, code="INVALID_REQUEST", message="同一笔交易的两次退款须间隔1分钟以上")
"""The other spelling of the same."""
NOT_ENOUGH: Final = Refusal(status=403, code="NOT_ENOUGH", message="商户可用退款余额不足")
USER_ACCOUNT_ABNORMAL: Final = Refusal(status=403, code="USER_ACCOUNT_ABNORMAL", message="用户账户异常或已注销")

SYSTEM_ERROR: Final = Refusal(status=500, code="SYSTEM_ERROR", message="系统错误")
FREQUENCY_LIMITED: Final = Refusal(status=429, code="FREQUENCY_LIMITED", message="请求过于频繁", sub_code=268435472)
