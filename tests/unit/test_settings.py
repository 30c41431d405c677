"""Settings: one line that names what is missing or malformed, and never shows a secret."""

from datetime import timedelta
from pathlib import Path

import pytest

from payscore_worker.settings import (
    PARTS,
    BrokerSettings,
    DatabaseSettings,
    Environment,
    LogSettings,
    MerchantSettings,
    OrderSettings,
    SettingsError,
    duration,
    durations,
)

MERCHANT = {
    "PAYSCORE_MCHID": "1230000109",
    "PAYSCORE_APPID": "wxd678efh567hg6787",
    "PAYSCORE_SERVICE_ID": "500001",
    "PAYSCORE_MERCHANT_SERIAL_NO": "7D0AB5B5D9E2C4A1",
    "PAYSCORE_MERCHANT_PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    "PAYSCORE_APIV3_KEY": "0123456789abcdef0123456789abcdef",
    "PAYSCORE_NOTIFY_URL": "https://pay.example.com/notify/payscore",
}


def environment(**variables: str) -> Environment:
    return Environment(variables, env_file=Path("nowhere.env"))


def merchant(**changes: str) -> MerchantSettings:
    return environment(**(MERCHANT | changes)).read(MerchantSettings)


def complaint(part: type, **variables: str) -> str:
    with pytest.raises(SettingsError) as caught:
        environment(**variables).read(part)
    return str(caught.value)


def test_the_defaults_are_those_of_the_contract() -> None:
    broker, orders = environment().read(BrokerSettings), environment().read(OrderSettings)

    assert broker.amqp_url == "amqp://guest:guest@127.0.0.1:5672/"
    assert (broker.retry_delays, broker.prefetch) == ("5s,30s,2m,10m,30m,2h,6h,12h", 64)
    assert environment().read(DatabaseSettings).database_url == "sqlite+aiosqlite:///payscore.db"
    assert (orders.service_introduction, orders.risk_amount_fen) == ("网约车出行", 20_000)
    assert (orders.service_state_ttl, orders.start_time) == ("0s", "on_accept")
    assert merchant().api_family == "payafter"
    assert merchant().api_base_urls == "https://api.mch.weixin.qq.com,https://api2.mch.weixin.qq.com"


def test_polls_come_soon_then_hourly_for_a_day_then_daily() -> None:
    delays = durations(environment().read(OrderSettings).poll_delays)

    assert delays[:3] == (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=1))
    assert delays[-2:] == (timedelta(hours=1), timedelta(days=1))
    assert timedelta(hours=23) < sum(delays[:-1], timedelta()) < timedelta(hours=25)


@pytest.mark.parametrize("name", MERCHANT)
def test_a_missing_setting_is_named(name: str) -> None:
    rest = {other: value for other, value in MERCHANT.items() if other != name}

    assert complaint(MerchantSettings, **rest).startswith(f"{name}: missing; it should be ")


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (BrokerSettings, "PAYSCORE_AMQP_URL", "http://broker"),
        (BrokerSettings, "PAYSCORE_AMQP_URL", "amqp://one/a,amqp://two/b"),
        (BrokerSettings, "PAYSCORE_AMQP_URL", "amqp://one,two/"),
        (BrokerSettings, "PAYSCORE_AMQP_URL", "amqp://broker/?vhost=rides"),
        (BrokerSettings, "PAYSCORE_AMQP_URL", "amqp://broker/?heartbeat=often"),
        (BrokerSettings, "PAYSCORE_AMQP_URL", "amqps://broker/?certfile=/no/such/file"),
        (BrokerSettings, "PAYSCORE_AMQP_URL", "amqp://guest:pa/ss@broker/"),
        (BrokerSettings, "PAYSCORE_AMQP_URL", "amqp://guest:pa#ss@broker/"),
        (BrokerSettings, "PAYSCORE_AMQP_URL", "amqp://guest:guest@[::1/"),
        (BrokerSettings, "PAYSCORE_AMQP_URL", "amqp://guest:guest@broker:99999/"),
        (BrokerSettings, "PAYSCORE_MANAGEMENT_URL", "http://guest:pa/ss@broker:15672"),
        (BrokerSettings, "PAYSCORE_PREFETCH", "0"),
        (BrokerSettings, "PAYSCORE_PREFETCH", "many"),
        (BrokerSettings, "PAYSCORE_RETRY_DELAYS", "5"),
        (BrokerSettings, "PAYSCORE_RETRY_DELAYS", "5s;30s"),
        (DatabaseSettings, "PAYSCORE_DATABASE_URL", "mysql://db/payscore"),
        (DatabaseSettings, "PAYSCORE_DATABASE_URL", "postgresql+asyncpg://pay:word@db:pass/payscore"),
        (MerchantSettings, "PAYSCORE_API_FAMILY", "payscore"),
        (MerchantSettings, "PAYSCORE_APIV3_KEY", "too short"),
        (MerchantSettings, "PAYSCORE_APIV3_KEY_PREVIOUS", "too short"),
        (MerchantSettings, "PAYSCORE_MERCHANT_PRIVATE_KEY", "/etc/key.pem"),
        (MerchantSettings, "PAYSCORE_NOTIFY_URL", "https://pay.example.com/notify?token=1"),
        (MerchantSettings, "PAYSCORE_API_BASE_URLS", "api.mch.weixin.qq.com"),
        (OrderSettings, "PAYSCORE_RISK_AMOUNT_FEN", "200.5"),
        (OrderSettings, "PAYSCORE_START_TIME", "now"),
        (OrderSettings, "PAYSCORE_SERVICE_INTRODUCTION", "长" * 21),
        (LogSettings, "PAYSCORE_LOG_LEVEL", "loud"),
    ],
)
def test_a_malformed_setting_is_named_in_one_line_without_its_value(part: type, name: str, value: str) -> None:
    variables = MERCHANT if part is MerchantSettings else {}

    text = complaint(part, **(variables | {name: value}))

    assert text.startswith(f"{name}: ")
    assert "; it should be " in text
    assert "\n" not in text
    if "KEY" in name:
        assert value not in text


def test_a_secret_can_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "apiv3"
    file.write_text("f" * 32 + "\n")
    rest = {name: value for name, value in MERCHANT.items() if name != "PAYSCORE_APIV3_KEY"}

    settings = environment(**rest, PAYSCORE_APIV3_KEY_FILE=str(file)).read(MerchantSettings)

    assert settings.apiv3_key == "f" * 32


def test_a_file_that_cannot_be_read_is_named() -> None:
    assert complaint(MerchantSettings, PAYSCORE_APIV3_KEY_FILE="/nowhere").startswith("PAYSCORE_APIV3_KEY_FILE: ")


@pytest.mark.parametrize("file", ["a\0b", "a\nb", "\udcff", "x" * 5000, "/"])
def test_a_name_that_no_file_can_have_is_a_complaint_in_one_line(file: str) -> None:
    text = complaint(MerchantSettings, PAYSCORE_APIV3_KEY_FILE=file)

    assert text.startswith("PAYSCORE_APIV3_KEY_FILE: ")
    assert len(text.splitlines()) == 1
    assert text.isprintable()


def test_a_secret_in_the_place_of_its_files_name_is_not_told() -> None:
    secret = "0123456789abcdef0123456789abcdef"

    assert secret not in complaint(MerchantSettings, PAYSCORE_APIV3_KEY_FILE=secret)


@pytest.mark.parametrize("content", [b"A=\xff\n", b"\xff\xfeP\0"])
def test_an_env_file_that_is_not_text_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)

    with pytest.raises(SettingsError, match=r"^\.env: cannot be read: not UTF-8$"):
        Environment({}, env_file=file)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (LogSettings, "PAYSCORE_LOG_LEVEL", "loud - at `$.PAYSCORE_LOG_FORMAT`"),
        (LogSettings, "PAYSCORE_LOG_LEVEL", "a\nb\u2028c"),
        (LogSettings, "PAYSCORE_LOG_LEVEL", "\udcff"),
        (BrokerSettings, "PAYSCORE_PREFETCH", "\udcff"),
        (BrokerSettings, "PAYSCORE_RETRY_DELAYS", "5s\n"),
        (BrokerSettings, "PAYSCORE_RETRY_DELAYS", "9" * 30 + "d"),
        (OrderSettings, "PAYSCORE_STALE_AFTER", "1000000d"),
        (MerchantSettings, "PAYSCORE_MCHID", "1230000109\n"),
    ],
)
def test_whatever_a_setting_holds_it_is_named_in_one_line_without_its_value(part: type, name: str, value: str) -> None:
    text = complaint(part, **(MERCHANT | {name: value}))

    assert text.startswith(f"{name}: ")
    assert len(text.splitlines()) == 1
    assert value not in text


@pytest.mark.parametrize("name", ["MCHID", "APPID", "SERVICE_ID", "MERCHANT_SERIAL_NO", "WECHATPAY_PUBLIC_KEY_ID"])
@pytest.mark.parametrize(
    "spoilt", ["{}\n", "\n{}", "{} ", " {}", "{}\r\nX-Other: 1", "{}号", "{}\u00b2", "{}\u0660", "{}\0"]
)
def test_an_id_that_would_break_a_header_is_refused_at_start(name: str, spoilt: str) -> None:
    good = MERCHANT | {"PAYSCORE_WECHATPAY_PUBLIC_KEY_ID": "PUB_KEY_ID_0116"}
    variable = f"PAYSCORE_{name}"

    environment(**good).read(MerchantSettings)
    assert complaint(MerchantSettings, **(good | {variable: spoilt.format(good[variable])})).startswith(f"{variable}: ")


@pytest.mark.parametrize("key_id", ["PUB_KEY_ID_", "pub_key_id_0116", "0116", "PUB_KEY_ID_" + "1" * 65])
def test_an_id_of_no_public_key_is_refused(key_id: str) -> None:
    text = complaint(MerchantSettings, **MERCHANT, PAYSCORE_WECHATPAY_PUBLIC_KEY_ID=key_id)

    assert text.startswith("PAYSCORE_WECHATPAY_PUBLIC_KEY_ID: ")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (BrokerSettings, "PAYSCORE_RETRY_DELAYS"),
        (OrderSettings, "PAYSCORE_POLL_DELAYS"),
        (OrderSettings, "PAYSCORE_STALE_AFTER"),
        (OrderSettings, "PAYSCORE_OVERDUE_AFTER"),
    ],
)
@pytest.mark.parametrize("nothing", ["0s", "0ms", "000d"])
def test_a_time_of_nothing_is_refused(part: type, name: str, nothing: str) -> None:
    assert complaint(part, **{name: nothing}).startswith(f"{name}: ")


@pytest.mark.parametrize("delays", ["5s,0s", "0s,5s", "5s,00m,1h"])
def test_a_pause_of_nothing_is_refused_wherever_it_stands(delays: str) -> None:
    assert complaint(OrderSettings, PAYSCORE_POLL_DELAYS=delays).startswith("PAYSCORE_POLL_DELAYS: ")
    assert complaint(BrokerSettings, PAYSCORE_RETRY_DELAYS=delays).startswith("PAYSCORE_RETRY_DELAYS: ")


def test_knowing_of_a_passengers_service_may_last_for_no_time() -> None:
    assert duration(environment(PAYSCORE_SERVICE_STATE_TTL="0s").read(OrderSettings).service_state_ttl) == timedelta()


@pytest.mark.parametrize(
    "url",
    [
        *("https://u:p@pay.example.com/notify", "https://u@pay.example.com/notify", "https://pay.example.com/no tify"),
        *("https://pay.example.com/notify ", " https://pay.example.com/notify", "https://pay.example.com/通知"),
        *(
            "https://pay.example.com/notify#x",
            "https://pay.example.com/notify\n",
            "https:///notify",
            "https://",
            "ftp://h/",
        ),
        *("https://pay.example.com:port/", "https://[/notify", "https://pay.example.com/" + "x" * 255),
    ],
)
def test_a_notify_url_that_wechat_pay_would_not_take_is_refused(url: str) -> None:
    assert complaint(MerchantSettings, **(MERCHANT | {"PAYSCORE_NOTIFY_URL": url})).startswith("PAYSCORE_NOTIFY_URL: ")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/notify/payscore",
        "https://pay_1.example.com",
        "http://[::1]:8080/a;b=c/%7Ed",
        "http://webhook/",
    ],
)
def test_a_notify_url_may_be_any_plain_one(url: str) -> None:
    assert merchant(PAYSCORE_NOTIFY_URL=url).notify_url == url


@pytest.mark.parametrize(
    "urls",
    [
        *("https://u:secret@h", "https://h/v3", "https://h,https://h/v3", "https://h, https://g", "https://h?a=1"),
        *("https://[", "https://h:port", "https://h,", ",https://h", "https://主机", "https://h\n"),
    ],
)
def test_a_base_url_is_a_scheme_and_a_host_and_perhaps_a_port(urls: str) -> None:
    text = complaint(MerchantSettings, **(MERCHANT | {"PAYSCORE_API_BASE_URLS": urls}))

    assert text.startswith("PAYSCORE_API_BASE_URLS: ")
    assert "secret" not in text


def test_a_prefix_at_the_broker_is_ascii() -> None:
    assert complaint(BrokerSettings, PAYSCORE_AMQP_PREFIX="前缀.").startswith("PAYSCORE_AMQP_PREFIX: ")
    assert complaint(BrokerSettings, PAYSCORE_AMQP_URL="amqp://h/\n").startswith("PAYSCORE_AMQP_URL: ")


def test_the_longest_duration_is_one() -> None:
    assert duration(environment(PAYSCORE_STALE_AFTER="999999d").read(OrderSettings).stale_after).days == 999_999


def test_a_pem_in_one_line_is_taken_apart() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----"

    assert "\nAAAA\n" in merchant(PAYSCORE_MERCHANT_PRIVATE_KEY=pem).merchant_private_key


def test_an_env_file_is_read_and_the_environment_goes_before_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PAYSCORE_PREFETCH=5\nPAYSCORE_AMQP_PREFIX=file.\n")

    broker = Environment({"PAYSCORE_PREFETCH": "7"}, env_file=file).read(BrokerSettings)

    assert (broker.prefetch, broker.amqp_prefix) == (7, "file.")


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert environment(PAYSCORE_PREFETCH="").read(BrokerSettings).prefetch == 64


@pytest.mark.parametrize("part", PARTS)
def test_the_repr_of_settings_shows_nothing(part: type) -> None:
    assert repr(environment(**MERCHANT).read(part)) == f"<{part.__name__}>"


def test_durations_have_units() -> None:
    assert duration("250ms") == timedelta(milliseconds=250)
    assert durations("5s,2m,6h,1d") == (
        timedelta(seconds=5),
        timedelta(minutes=2),
        timedelta(hours=6),
        timedelta(days=1),
    )
