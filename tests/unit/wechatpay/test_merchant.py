from dataclasses import replace

import pytest

from tests.unit.wechatpay.wechat import a_merchant


@pytest.mark.parametrize("name", ["mchid", "appid", "service_id", "serial_no"])
@pytest.mark.parametrize("value", ["", "12 3", '1"2', "号", "x" * 65])
def test_an_id_that_would_break_a_signed_line_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: letters, digits, _ and - are expected$"):
        replace(a_merchant(), **{name: value})  # type: ignore[arg-type]  # only the ids are replaced


@pytest.mark.parametrize("keys", [(), (b"short",), (b"0" * 32, b"0" * 31)])
def test_an_apiv3_key_has_32_bytes(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match=r"^apiv3_keys: each has exactly 32 bytes$"):
        replace(a_merchant(), apiv3_keys=keys)


def test_a_merchant_does_not_show_its_secrets() -> None:
    shown = repr(replace(a_merchant(), apiv2_key="v2-secret", apiv3_keys=(b"s" * 32,)))

    assert "v2-secret" not in shown
    assert "sss" not in shown
    assert "PrivateKey" not in shown
