"""The tables of reference payscore-api F.1, F.2 and G.2, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.errors import MerchantRefused, OutcomeUnknown, Refusal, WechatPayUnavailable
from payscore_worker.wechatpay.refusals import BY_SUB_CODE, Verdict, classify, code_label, is_foreign


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
        (400, "PARAM_ERROR", "平台证书序列号Wechatpay-Serial错误", MerchantRefused),
        (400, "PARAM_ERROR", "mch_id 不存在", MerchantRefused),
        (400, "PARAM_ERROR", "Authorization 不合法", MerchantRefused),
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
        (400, "INVALID_REQUEST", "微信支付分逐步开放中", Refusal.NOT_PERMITTED),
        (400, "INVALID_REQUEST", "请求异常,请稍后重试", OutcomeUnknown),
        (400, "INVALID_REQUEST", "请求异常，请稍后再试", OutcomeUnknown),
        (400, "INVALID_ORDER_STATE", "", Refusal.WRONG_STATE),
        (400, "ORDER_CANCELED", "", Refusal.WRONG_STATE),
        (400, "ORDER_DONE", "", Refusal.WRONG_STATE),
        (400, "INVALID_REQUEST", "用户未开启服务", Refusal.NOT_ENABLED),
        (401, "SIGN_ERROR", "timestamp", MerchantRefused),
        (403, "SIGN_ERROR", "", MerchantRefused),
        (400, "MCH_NOT_EXISTS", "", MerchantRefused),
        (404, "MCH_NOT_EXISTS", "", MerchantRefused),
        (400, "APPID_MCHID_NOT_MATCH", "", MerchantRefused),
        (403, "NO_AUTH", "", Refusal.NOT_PERMITTED),
        (403, "NO_AUTH", "请检查服务授权状态", MerchantRefused),
        (403, "NO_AUTH", "请检查 服务授权状态", MerchantRefused),
        (403, "NO_AUTH", "此服务ID所属一级行业类型和API接口填写的行业类型不一致", MerchantRefused),
        (403, "NO_AUTH", "商户暂无权限使用此服务", Refusal.NOT_PERMITTED),
        (403, "NO_AUTH", "请稍后重试", Refusal.NOT_PERMITTED),
        (403, "NOT_ENOUGH", "平台证书已过期失效，请联系微信支付技术支持。", MerchantRefused),
        (404, "ORDER_NOT_EXIST", "", Refusal.ORDER_NOT_FOUND),
        (404, "ORDER_NOT_ EXIST", "", Refusal.ORDER_NOT_FOUND),
        (404, "order_not_exist", "", Refusal.ORDER_NOT_FOUND),
        (404, "ORDER_NOT_EXIST", "请求操作的授权记录不存在", Refusal.NOT_ENABLED),
        (404, "RESOURCE_NOT_EXISTS", "订单不存在", Refusal.RESOURCE_NOT_FOUND),
        (404, "RESOURCE_NOT_EXISTS", "退款单据不存在，请稍后重试", Refusal.RESOURCE_NOT_FOUND),
        (404, "RESOURCE_NOT_EXISTS", "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥", Refusal.UNCLEAR),
        (404, "RESOURCE_NOT_EXISTS", "证书不存在", Refusal.UNCLEAR),
        (400, "resource_not_ exists", "", Refusal.RESOURCE_NOT_FOUND),
        (403, "NOT_ENOUGH", "基本账户余额不足，请充值后重新发起", Refusal.NOT_ENOUGH),
        (403, "NOTENOUGH", "", Refusal.NOT_ENOUGH),
        (403, "USER_ACCOUNT_ABNORMAL", "用户账户异常或已注销", Refusal.ACCOUNT_ABNORMAL),
        (400, "USERACCOUNTABNORMAL", "", Refusal.ACCOUNT_ABNORMAL),
        (400, "INVALID_REQUEST", "退款金额大于可退金额", Refusal.UNCLEAR),
        (429, "FREQUENCY_LIMITED", "频率限制，1个月之前的订单请降低申请频率再重试", WechatPayUnavailable),
        (500, "NOT_ENOUGH", "", OutcomeUnknown),
        (404, "", "", OutcomeUnknown),
        (400, "", "综合评估未通过", OutcomeUnknown),
        (403, "", "无权限", OutcomeUnknown),
        (429, "FREQUENCY_LIMITED", "", WechatPayUnavailable),
        (429, "", "", OutcomeUnknown),
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
        ("271302144", MerchantRefused),
        ("271302149", MerchantRefused),
        ("268435472", WechatPayUnavailable),
        ("271300099", Refusal.RISK_REFUSED),
        ("271299627", Refusal.ARREARS),
        ("268503786", MerchantRefused),
        ("271316592", Refusal.WRONG_STATE),
        ("270924332", MerchantRefused),
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


PROXIES = [401, 407, 408, 413]
CODES = ["ORDER_NOT_EXIST", "NO_AUTH", "PARAM_ERROR", "INVALID_REQUEST", "ORDER_DONE", "Forbidden", ""]


@pytest.mark.parametrize("status", PROXIES)
@pytest.mark.parametrize("code", CODES)
def test_a_status_that_proxies_use_says_nothing_about_the_order_whatever_the_code(status: int, code: str) -> None:
    """F.5 b; of WeChat Pay only 401 SIGN_ERROR is known."""
    assert verdict(status, code, "综合评估未通过") is OutcomeUnknown
    assert is_foreign(status=status, code=code)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 407, 408, 413, 418, 451])
def test_an_answer_without_a_code_is_not_wechats_whatever_its_text(status: int) -> None:
    assert verdict(status, "", "综合评估未通过", "08F1-271300099") is OutcomeUnknown
    assert is_foreign(status=status, code="")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "SIGN_ERROR"),
        (400, "PARAM_ERROR"),
        (403, "NO_AUTH"),
        (404, "ORDER_NOT_ EXIST"),
        (429, ""),
        (429, "FREQUENCY_LIMITED"),
        (500, ""),
        (503, "SERVICE_UNAVAILABLE"),
        (202, ""),
    ],
)
def test_what_wechat_itself_may_have_said_is_not_foreign(status: int, code: str) -> None:
    assert not is_foreign(status=status, code=code)


@pytest.mark.parametrize("code", ["NO_AUTH", "ORDER_NOT_EXIST", "SIGN_ERROR", "PARAM_ERROR", "NOT_ENOUGH"])
def test_metrics_name_a_code_as_the_tables_spell_it(code: str) -> None:
    assert code_label(code.lower().replace("_", " ")) == code


def test_every_sub_code_we_know_has_its_row_above() -> None:
    assert len(BY_SUB_CODE) == 20


@given(status=st.integers(400, 499), code=st.text(), message=st.text(), request_id=st.text())
def test_whatever_comes_as_4xx_is_classified(status: int, code: str, message: str, request_id: str) -> None:
    assert verdict(status, code, message, request_id)


@given(status=st.integers(500, 599), code=st.sampled_from(["NO_AUTH", "PARAM_ERROR"]), message=st.text())
def test_no_text_makes_a_5xx_anything_but_unknown(status: int, code: str, message: str) -> None:
    assert verdict(status, code, message) is OutcomeUnknown


def test_no_code_has_no_label_and_one_that_no_table_knows_is_other() -> None:
    assert [code_label(code) for code in ("", "SOMETHING_NEW", "ORDER_NOT_ EXIST")] == ["", "other", "ORDER_NOT_EXIST"]
