"""The tables of reference payscore-api F.1 and F.2, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.errors import OutcomeUnknown, Refusal, WechatPayUnavailable
from payscore_worker.wechatpay.refusals import BY_SUB_CODE, Verdict, classify


def verdict(status: int = 400, code: str = "", message: str = "", request_id: str = "") -> Verdict:
    return classify(status=status, code=code, message=message, request_id=request_id)


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (400, "PARAM_ERROR", "参数错误", Refusal.INVALID_PARAMETER),
        (400, "PARAM_ERROR", "最终总金额计算非法", Refusal.INVALID_PARAMETER),
        (400, "PARAM_ERROR", "订单重入参数校验失败", Refusal.REENTRY_MISMATCH),
        (400, "PARAM_ERROR", "完结订单状态不合法", Refusal.WRONG_STATE),
        (400, "PARAM_ERROR", "实际结束时间不能晚于使用完结接口的时间", Refusal.BAD_TIME),
        (400, "PARAM_ERROR", "创建订单未填写服务结束时间,则结束时间必填", Refusal.INVALID_PARAMETER),
        (400, "PARAM_ERROR", "平台证书序列号Wechatpay-Serial错误", Refusal.MISCONFIGURED),
        (400, "PARAM_ERROR", "mch_id 不存在", Refusal.MISCONFIGURED),
        (400, "PARAM_ERROR", "Authorization 不合法", Refusal.MISCONFIGURED),
        (400, "INVALID_REQUEST", "", Refusal.UNCLEAR),
        (400, "INVALID_REQUEST", "当前订单状态不合法,订单状态为确认状态", Refusal.WRONG_STATE),
        (400, "INVALID_REQUEST", "当前订单状态不满足撤销条件", Refusal.WRONG_STATE),
        (400, "INVALID_REQUEST", "订单重入参数校验失败", Refusal.REENTRY_MISMATCH),
        (400, "INVALID_REQUEST", "综合评估未通过", Refusal.RISK_REFUSED),
        (400, "INVALID_REQUEST", "综合评估未通过，请稍后重试", Refusal.RISK_REFUSED),
        (400, "INVALID_REQUEST", "存在待处理的超时未支付订单", Refusal.ARREARS),
        (400, "INVALID_REQUEST", "用户有 3 笔进行中的订单", Refusal.TOO_MANY_ORDERS),
        (400, "INVALID_REQUEST", "青少年模式限制", Refusal.MINOR_PROTECTED),
        (400, "INVALID_REQUEST", "单据正在扣款中，请稍后重试", Refusal.DEBIT_IN_FLIGHT),
        (400, "INVALID_REQUEST", "单据正在扣款中，请稍后再试", Refusal.DEBIT_IN_FLIGHT),
        (400, "INVALID_REQUEST", "收款结果不明，请稍后重试", Refusal.DEBIT_IN_FLIGHT),
        (400, "INVALID_REQUEST", "总金额超过此服务的服务风险金额", Refusal.AMOUNT_OVER_LIMIT),
        (400, "INVALID_REQUEST", "真实结束时间小于预计开始时间", Refusal.BAD_TIME),
        (400, "INVALID_REQUEST", "微信支付分逐步开放中", Refusal.MISCONFIGURED),
        (400, "INVALID_REQUEST", "请求异常,请稍后重试", OutcomeUnknown),
        (400, "INVALID_REQUEST", "请求异常，请稍后再试", OutcomeUnknown),
        (400, "INVALID_ORDER_STATE", "", Refusal.WRONG_STATE),
        (400, "ORDER_CANCELED", "", Refusal.WRONG_STATE),
        (400, "ORDER_DONE", "", Refusal.WRONG_STATE),
        (401, "SIGN_ERROR", "timestamp", Refusal.MISCONFIGURED),
        (403, "NO_AUTH", "商户暂无权限使用此服务", Refusal.NOT_PERMITTED),
        (403, "NO_AUTH", "请稍后重试", Refusal.NOT_PERMITTED),
        (403, "NOT_ENOUGH", "平台证书已过期失效，请联系微信支付技术支持。", Refusal.MISCONFIGURED),
        (404, "ORDER_NOT_EXIST", "", Refusal.ORDER_NOT_FOUND),
        (404, "ORDER_NOT_ EXIST", "", Refusal.ORDER_NOT_FOUND),
        (404, "order_not_exist", "", Refusal.ORDER_NOT_FOUND),
        (404, "", "", Refusal.UNCLEAR),
        (429, "FREQUENCY_LIMITED", "", WechatPayUnavailable),
        (429, "", "", WechatPayUnavailable),
        (400, "FREQUENCY_LIMITED", "", WechatPayUnavailable),
        (403, "RATELIMIT_EXCEEDED", "", WechatPayUnavailable),
        (403, "RATELIMIT_EXCEED", "", WechatPayUnavailable),
        (403, "RATE_LIMITED", "", WechatPayUnavailable),
        (500, "SYSTEM_ERROR", "", OutcomeUnknown),
        (400, "SYSTEMERROR", "", OutcomeUnknown),
        (500, "PARAM_ERROR", "综合评估未通过", OutcomeUnknown),
        (502, "", "", OutcomeUnknown),
        (503, "", "", OutcomeUnknown),
        (504, "", "", OutcomeUnknown),
        (202, "", "", OutcomeUnknown),
        (302, "", "", OutcomeUnknown),
        (400, "SOMETHING_NEW", "新的错误", Refusal.UNCLEAR),
    ],
)
def test_a_code_or_a_text_is_classified(status: int, code: str, message: str, expected: Verdict) -> None:
    assert verdict(status, code, message) is expected


@pytest.mark.parametrize(
    ("sub_code", "expected"),
    [
        ("271317510", Refusal.ORDER_NOT_FOUND),
        ("271316574", Refusal.WRONG_STATE),
        ("271302262", Refusal.WRONG_STATE),
        ("271302332", Refusal.WRONG_STATE),
        ("271302333", Refusal.WRONG_STATE),
        ("268435464", Refusal.INVALID_PARAMETER),
        ("271316657", Refusal.WRONG_STATE),
        ("271316598", Refusal.REENTRY_MISMATCH),
        ("271302144", Refusal.MISCONFIGURED),
        ("271302149", Refusal.MISCONFIGURED),
        ("268435472", WechatPayUnavailable),
        ("271300099", Refusal.RISK_REFUSED),
        ("271299627", Refusal.ARREARS),
        ("268503786", Refusal.MISCONFIGURED),
        ("271316592", Refusal.WRONG_STATE),
        ("270924332", Refusal.MISCONFIGURED),
        ("271316754", Refusal.DEBIT_IN_FLIGHT),
        ("271316656", Refusal.AMOUNT_OVER_LIMIT),
        ("271316637", Refusal.BAD_TIME),
        ("268560785", Refusal.MINOR_PROTECTED),
    ],
)
def test_a_sub_code_is_classified_whatever_the_code_says(sub_code: str, expected: Verdict) -> None:
    request_id = f"08F7D4E5A106-10C3-{sub_code}"

    assert verdict(400, "PARAM_ERROR", "", request_id) is expected
    assert verdict(403, "NO_AUTH", "请稍后重试", request_id) is expected


def test_every_sub_code_we_know_has_its_row_above() -> None:
    assert len(BY_SUB_CODE) == 20


@given(status=st.integers(400, 499), code=st.text(), message=st.text(), request_id=st.text())
def test_whatever_comes_as_4xx_is_classified(status: int, code: str, message: str, request_id: str) -> None:
    assert verdict(status, code, message, request_id)


@given(status=st.integers(500, 599), code=st.sampled_from(["NO_AUTH", "PARAM_ERROR"]), message=st.text())
def test_no_text_makes_a_5xx_anything_but_unknown(status: int, code: str, message: str) -> None:
    assert verdict(status, code, message) is OutcomeUnknown
