"""The settings that a worker needs to talk to a simulator."""

from collections.abc import Mapping
from typing import Final

from payscore_worker.simulator.config import SimulatorConfig

UNQUOTABLE: Final = ("'", "\\", "${", "\r", "\0")
"""What a POSIX shell and python-dotenv read differently inside single quotes."""


def environment(config: SimulatorConfig, *, base_url: str, family: str = "payafter") -> dict[str, str]:
    keys = config.keys
    settings = {
        "PAYSCORE_API_BASE_URLS": base_url,
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
    if config.sign_with == "public_key":
        settings["PAYSCORE_WECHATPAY_PUBLIC_KEY_ID"] = keys.public_key_id
        settings["PAYSCORE_WECHATPAY_PUBLIC_KEY"] = keys.public_key_pem
    return settings


def render_environment(environment: Mapping[str, str]) -> str:
    """Lines that python-dotenv and a POSIX shell (`set -a; . ./file`) read alike."""
    return "".join(f"{name}={_quoted(name, value)}\n" for name, value in environment.items())


def _quoted(name: str, value: str) -> str:
    for text in UNQUOTABLE:
        if text in value:
            raise ValueError(f"{name} contains {text!r}, which a shell and python-dotenv would read differently")
    return f"'{value}'"
