"""What of the merchant's settings has to fit together: said at the start, by the name that a person can set."""

from typing import Any

import msgspec
import pytest

from payscore_worker.bootstrap.wechatpay import make_wechatpay
from payscore_worker.settings import MerchantSettings, SettingsError
from tests.unit.wechatpay.vectors import APIV3_KEY, MERCHANT_KEY


def settings(**changes: Any) -> MerchantSettings:
    given = MerchantSettings(
        mchid="1230000109",
        appid="wxd678efh567hg6787",
        service_id="500001",
        merchant_serial_no="7D0AB5B5D9E2C4A1",
        merchant_private_key=MERCHANT_KEY,
        apiv3_key=APIV3_KEY.decode(),
        notify_url="https://pay.example.com/notify/payscore",
    )
    return msgspec.structs.replace(given, **changes)


def test_orders_that_the_passenger_confirms_take_the_key_that_signs_the_page() -> None:
    with pytest.raises(SettingsError, match=r"^PAYSCORE_APIV2_KEY: ") as refused:
        make_wechatpay(settings(need_user_confirm=True))

    assert APIV3_KEY.decode() not in str(refused.value)
    assert make_wechatpay(
        settings(need_user_confirm=True, apiv2_key="k" * 32)
    ).payscores.current.terms.need_user_confirm


def test_other_orders_need_no_such_key() -> None:
    assert not make_wechatpay(settings()).payscores.current.terms.need_user_confirm
