"""What the passenger's page says, in English and in Chinese."""

from collections.abc import Mapping
from typing import Final, Literal

Language = Literal["en", "zh"]

MAX_WISHES: Final = 20
"""Of an Accept-Language header that are looked at."""

_BY_TAG: Final[Mapping[str | None, Language]] = {"en": "en", "zh": "zh"}


def language_of(asked: str | None, accept_language: str) -> Language:
    """As asked for by `?lang=`, else the one that the browser likes better, else English."""
    if asked in _BY_TAG:
        return _BY_TAG[asked]
    best: Language = "en"
    liked = 0.0
    for wish in accept_language.split(",")[:MAX_WISHES]:
        tag, _, quality = wish.partition(";")
        language = _BY_TAG.get(tag.strip().partition("-")[0].lower())
        weight = _weight(quality)
        if language is not None and weight > liked:
            best, liked = language, weight
    return best


def _weight(quality: str) -> float:
    try:
        return float(quality.strip().removeprefix("q=") or 1)
    except ValueError:
        return 0.0


def word(key: str, language: Language) -> str:
    english, chinese = WORDS[key]
    return chinese if language == "zh" else english


WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "title": ("The passenger", "乘客"),
    "what": (
        "You play the passenger at the simulator. No money moves.",
        "您在模拟器中扮演乘客。不会产生真实扣款。",
    ),
    "openid": ("openid", "openid"),
    "come_in": ("Be this passenger", "成为该乘客"),
    "change": ("Another passenger", "更换乘客"),
    "back": ("Back", "返回"),
    "service": ("PayScore service", "微信支付分服务"),
    "service_on": ("on", "已开启"),
    "service_off": ("not enabled", "未开启"),
    "no_service": (
        "At this merchant each order is confirmed; there is no service to enable.",
        "该商户的订单需逐单确认，无需开启服务。",
    ),
    "close": ("Close the service", "关闭服务"),
    "jump": ("Open a page", "打开页面"),
    "jump_hint": (
        "What the merchant's client gives openBusinessView: JSON, or businessType=…& and the query string.",
        "商户客户端传给 openBusinessView 的内容：JSON，或 businessType=…& 加查询串。",
    ),
    "open": ("Open", "打开"),
    "enable_title": ("Enable the service?", "开启服务？"),
    "enable_text": (
        "Orders of this merchant then start without a confirmation, and are debited when they end.",
        "开启后，该商户的订单无需确认即可开始，结束后自动扣款。",
    ),
    "enable": ("Agree and enable", "同意并开启"),
    "confirm_title": ("Confirm the order?", "确认订单？"),
    "confirm_text": (
        "This page opens once. Who leaves it cannot confirm the order any more.",
        "此页面仅可打开一次，离开后该订单无法再确认。",
    ),
    "confirm": ("Confirm and start", "确认并开始"),
    "leave": ("Leave", "离开"),
    "orders": ("Orders", "订单"),
    "no_orders": ("No orders yet.", "暂无订单。"),
    "more_orders": ("Older orders are not shown.", "更早的订单未显示。"),
    "order": ("Order", "订单号"),
    "started": ("Start", "开始时间"),
    "risk": ("At most", "风险金额"),
    "total": ("Fare", "费用"),
    "paid": ("Paid", "已付"),
    "refunded": ("Refunded", "已退款"),
    "puts_off": ("Debits fail until you pay.", "自动扣款失败，直至您主动付款。"),
    "pay": ("Pay now", "立即支付"),
    "put_off": ("Pay later: let debits fail", "稍后付款：让扣款失败"),
    "let_debit": ("Let debits succeed", "恢复自动扣款"),
    "stage_created": ("waits for a confirmation", "待确认"),
    "stage_running": ("running", "进行中"),
    "stage_owing": ("to be paid", "待支付"),
    "stage_paid": ("paid", "已支付"),
    "stage_free": ("nothing to pay", "无需支付"),
    "stage_revoked": ("cancelled", "已取消"),
    "stage_expired": ("expired", "已过期"),
    "refused": ("The page refuses", "页面拒绝"),
    "done_enabled": ("The service is on.", "服务已开启。"),
    "done_closed": ("The service is closed.", "服务已关闭。"),
    "done_confirmed": ("The order is confirmed.", "订单已确认。"),
    "done_left": ("You left the page.", "您已离开页面。"),
    "done_paid": ("Paid.", "已支付。"),
    "done_put_off": ("Debits of this order fail now.", "该订单的扣款将失败。"),
    "done_let_debit": ("Debits of this order succeed now.", "该订单的扣款将成功。"),
}
