"""The settings of a worker, as a shell and python-dotenv read them."""

import dataclasses
import io
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payscore_worker.simulator import SimulatorConfig, SimulatorKeys, environment, render_environment
from payscore_worker.simulator.environment import UNQUOTABLE


def read_by_shell(file: Path, names: list[str]) -> dict[str, str | None]:
    script = 'set -a; . "$1"; env -0'
    output = subprocess.run(  # noqa: S603 - our own script
        ["/bin/sh", "-c", script, "sh", str(file)], env={}, capture_output=True, check=True
    ).stdout.decode()
    variables = dict(line.partition("=")[::2] for line in output.split("\0") if line)
    return {name: variables.get(name) for name in names}


def read_by_dotenv(text: str) -> dict[str, str | None]:
    return dict(dotenv_values(stream=io.StringIO(text)))


@pytest.mark.parametrize("family", ["payafter", "serviceorder"])
def test_the_settings_are_those_of_the_contract(config: SimulatorConfig, keys: SimulatorKeys, family: str) -> None:
    assert environment(config, base_url="http://127.0.0.1:8090", family=family) == {
        "PAYSCORE_API_BASE_URLS": "http://127.0.0.1:8090",
        "PAYSCORE_API_FAMILY": family,
        "PAYSCORE_MCHID": keys.mchid,
        "PAYSCORE_APPID": keys.appid,
        "PAYSCORE_SERVICE_ID": keys.service_id,
        "PAYSCORE_MERCHANT_SERIAL_NO": keys.merchant.serial_no,
        "PAYSCORE_MERCHANT_PRIVATE_KEY": keys.merchant_private_key_pem,
        "PAYSCORE_APIV3_KEY": keys.apiv3_key,
        "PAYSCORE_APIV2_KEY": keys.apiv2_key,
        "PAYSCORE_NOTIFY_URL": config.notify_url,
    }


def test_the_public_key_is_among_them_where_it_is_in_use(config: SimulatorConfig, keys: SimulatorKeys) -> None:
    settings = environment(dataclasses.replace(config, sign_with="public_key"), base_url="http://127.0.0.1:8090")
    assert settings["PAYSCORE_WECHATPAY_PUBLIC_KEY_ID"] == keys.public_key_id
    assert settings["PAYSCORE_WECHATPAY_PUBLIC_KEY"] == keys.public_key_pem


def test_a_shell_and_dotenv_read_what_was_rendered(config: SimulatorConfig, tmp_path: Path) -> None:
    settings = environment(dataclasses.replace(config, sign_with="public_key"), base_url="http://127.0.0.1:8090")
    text = render_environment(settings)
    file = tmp_path / "simulator.env"
    file.write_text(text)
    assert read_by_dotenv(text) == settings
    assert read_by_shell(file, list(settings)) == settings


QUOTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n\t #="$`{}!&;')).filter(
    lambda value: not any(text in value for text in UNQUOTABLE)
)


@given(QUOTABLE)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_is_read_back_alike(tmp_path: Path, value: str) -> None:
    text = render_environment({"BEFORE": "1", "VALUE": value, "AFTER": "2"})
    file = tmp_path / "any.env"
    file.write_bytes(text.encode())
    expected = {"BEFORE": "1", "VALUE": value, "AFTER": "2"}
    assert read_by_dotenv(text) == expected
    assert read_by_shell(file, list(expected)) == expected


@pytest.mark.parametrize("value", ["it's", "a\\b", "${HOME}", "a\r\nb", "\0"])
def test_a_value_that_they_would_read_differently_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="NAME contains"):
        render_environment({"NAME": value})


@pytest.mark.parametrize(
    ("slip", "complaint"),
    [
        ({"speed": 0}, "speed"),
        ({"pay_after_seconds": -1}, "pay_after_seconds"),
        ({"service_cap_fen": 0}, "service_cap_fen"),
        ({"max_running_orders": 0}, "max_running_orders"),
        ({"max_orders": 0}, "max_orders"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(
    config: SimulatorConfig, slip: dict[str, int], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(config, **slip)  # type: ignore[arg-type]  # names of numbers
