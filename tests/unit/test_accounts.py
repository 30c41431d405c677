"""The accounts: one from the single settings, or several from a file; what is wrong is named, and no key is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from payscore_worker.accounts import MAX_ACCOUNTS, Accounts, names_of_accounts, read_accounts
from payscore_worker.events import TripStarted
from payscore_worker.settings import Environment, SettingsError
from tests.unit.test_settings import MERCHANT

KEY = "0123456789abcdef0123456789abcdef"
PEM = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"

MEMBERS: dict[str, Any] = {
    "mchid": "1900000101",
    "appids": ["wxshanghai1", "wxshanghai2"],
    "service_id": "500001",
    "merchant_serial_no": "7D0AB5B5D9E2C4A1",
    "merchant_private_key_file": "key.pem",
    "apiv3_key_file": "apiv3",
    "notify_url": "https://pay.example.com/notify/shanghai",
}
OTHER = MEMBERS | {
    "mchid": "1900000202",
    "api_family": "serviceorder",
    "notify_url": "https://pay.example.com/notify/suzhou",
}

Write = Callable[..., Environment]


def toml(accounts: dict[str, dict[str, Any]]) -> str:
    def value(one: object) -> str:
        return str(one).lower() if isinstance(one, bool) else repr(one).replace("'", '"')

    return "\n".join(
        line
        for name, members in accounts.items()
        for line in (f"[accounts.{name}]", *(f"{member} = {value(one)}" for member, one in members.items()))
    )


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of accounts, and the keys beside it."""
    (tmp_path / "key.pem").write_text(PEM)
    (tmp_path / "apiv3").write_text(f"{KEY}\n")

    def environment(text: str | dict[str, dict[str, Any]], **variables: str) -> Environment:
        file = tmp_path / "accounts.toml"
        file.write_text(text if isinstance(text, str) else toml(text))
        variables = {"PAYSCORE_ACCOUNTS_FILE": str(file)} | variables
        return Environment(variables, env_file=tmp_path / "nowhere.env")

    return environment


def complaint(environment: Environment) -> str:
    with pytest.raises(SettingsError) as error:
        read_accounts(environment)
    text = str(error.value)
    assert "\n" not in text
    assert KEY not in text
    assert "AAAA" not in text
    return text


def names(accounts: Accounts) -> list[str]:
    return [one.name for one in accounts]


# --- The single settings ---


def test_without_a_file_there_is_one_account_of_the_single_settings() -> None:
    (one,) = read_accounts(Environment(MERCHANT | {"PAYSCORE_RISK_AMOUNT_FEN": "9900"}))

    assert one.name == "default"
    assert one.merchant.mchid == MERCHANT["PAYSCORE_MCHID"]
    assert one.account.risk_amount_fen == 9_900


def test_the_single_account_may_have_several_apps() -> None:
    (one,) = read_accounts(Environment(MERCHANT | {"PAYSCORE_APPID": "wx1,wx2"}))

    assert one.merchant.appids == ("wx1", "wx2")


def test_the_base_of_the_callbacks_stands_in_for_a_notify_url_that_is_not_set() -> None:
    variables = {name: value for name, value in MERCHANT.items() if name != "PAYSCORE_NOTIFY_URL"}
    base = {"PAYSCORE_NOTIFY_BASE_URL": "https://pay.example.com/"}

    assert (
        read_accounts(Environment(variables | base))[0].merchant.notify_url == "https://pay.example.com/notify/default"
    )
    assert read_accounts(Environment(MERCHANT | base))[0].merchant.notify_url == MERCHANT["PAYSCORE_NOTIFY_URL"]


# --- The file ---


def test_every_table_is_an_account_with_its_own_keys_and_the_first_is_the_default(write: Write) -> None:
    first, second = read_accounts(write({"shanghai": MEMBERS, "suzhou": OTHER | {"risk_amount_fen": 9_900}}))

    assert (first.name, first.merchant.mchid, first.merchant.appids) == (
        "shanghai",
        "1900000101",
        ("wxshanghai1", "wxshanghai2"),
    )
    assert first.merchant.apiv3_key == KEY
    assert first.merchant.merchant_private_key == PEM.strip()
    assert (second.name, second.merchant.api_family, second.account.risk_amount_fen) == (
        "suzhou",
        "serviceorder",
        9_900,
    )


def test_one_account_may_be_marked_as_the_default(write: Write) -> None:
    accounts = read_accounts(write({"shanghai": MEMBERS, "suzhou": OTHER | {"default": True}}))

    assert names(accounts) == ["suzhou", "shanghai"]


def test_what_an_account_does_not_say_of_its_orders_is_as_for_all(write: Write) -> None:
    environment = write({"shanghai": MEMBERS}, PAYSCORE_RISK_AMOUNT_FEN="5000", PAYSCORE_OUT_ORDER_NO_PREFIX="SH")

    (one,) = read_accounts(environment)

    assert (one.account.risk_amount_fen, one.account.out_order_no_prefix) == (5_000, "SH")


def test_callbacks_of_an_account_go_below_the_base_to_its_name(write: Write) -> None:
    silent = {name: value for name, value in OTHER.items() if name != "notify_url"}

    shanghai, suzhou = read_accounts(
        write({"shanghai": MEMBERS, "suzhou": silent}, PAYSCORE_NOTIFY_BASE_URL="https://pay.example.com")
    )

    assert shanghai.merchant.notify_url == MEMBERS["notify_url"]
    assert suzhou.merchant.notify_url == "https://pay.example.com/notify/suzhou"


def test_the_names_are_told_by_merchant_number_and_none_where_the_settings_do_not_tell(write: Write) -> None:
    assert names_of_accounts(write({"shanghai": MEMBERS})) == {"1900000101": "shanghai"}
    assert names_of_accounts(write("[accounts")) == {}


# --- What is wrong is named ---


def test_one_company_may_have_its_orders_confirmed_and_another_not(write: Write) -> None:
    first, second = read_accounts(write({"shanghai": MEMBERS, "suzhou": OTHER | {"need_user_confirm": True}}))

    assert (first.account.need_user_confirm, second.account.need_user_confirm) == (False, True)


@pytest.mark.parametrize("member", ["mchid", "service_id", "merchant_serial_no", "notify_url"])
def test_a_missing_member_is_named(write: Write, member: str) -> None:
    rest = {name: value for name, value in MEMBERS.items() if name != member}

    assert complaint(write({"shanghai": rest})).startswith(
        f"PAYSCORE_ACCOUNTS_FILE: accounts.toml: accounts.shanghai.{member}: missing; it should be "
    )


@pytest.mark.parametrize(("member", "named"), [("apiv3_key_file", "apiv3_key_file"), ("appids", "appids")])
def test_a_missing_key_or_app_is_named_as_the_file_names_it(write: Write, member: str, named: str) -> None:
    rest = {name: value for name, value in MEMBERS.items() if name != member}

    assert f"accounts.shanghai.{named}: missing" in complaint(write({"shanghai": rest}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mchid": "none"}, "mchid: "),
        ({"mchid": 1_900_000_101}, "mchid: Expected `str`, got `int`"),
        ({"risk_amount_fen": "9900"}, "risk_amount_fen: Expected `int`, got `str`"),
        ({"risk_amount_fen": 0}, "risk_amount_fen: "),
        ({"api_family": "payscore"}, "api_family: "),
        ({"appids": "wx1"}, "appids: a list of app ids is expected"),
        ({"appids": []}, "appids: a list of app ids is expected"),
        ({"appids": ["wx1,wx2"]}, "appids: an app id has letters and digits alone"),
        ({"appids": ["w x"]}, "appids: "),
        ({"appid": "wx1"}, "appid: is not known; there are default, "),
        ({"prefetch": 5}, "prefetch: is not known; there are default, "),
        ({"default": "yes"}, "default: neither true nor false"),
        ({"apiv3_key": KEY}, "apiv3_key: a key is not written here: name its file in apiv3_key_file"),
        ({"apiv3_key_file": "nowhere"}, "apiv3_key_file: the file it should name cannot be read: No such file"),
        ({"apiv3_key_file": "key.pem"}, "apiv3_key_file: "),
        ({"apiv3_key_file": 5}, "apiv3_key_file: is not the name of a file"),
        ({"notify_url": "pay.example.com"}, "notify_url: "),
    ],
)
def test_a_wrong_member_is_named_with_file_and_account(write: Write, changes: dict[str, Any], said: str) -> None:
    text = complaint(write({"shanghai": MEMBERS | changes}))

    assert text.startswith(f"PAYSCORE_ACCOUNTS_FILE: accounts.toml: accounts.shanghai.{said}")


def test_a_key_that_was_put_in_place_of_its_file_is_not_told(write: Write) -> None:
    text = complaint(write({"shanghai": MEMBERS | {"apiv3_key_file": KEY}}))

    assert "accounts.shanghai.apiv3_key_file: " in text


def test_two_accounts_cannot_share_a_merchant_number(write: Write) -> None:
    text = complaint(write({"shanghai": MEMBERS, "suzhou": OTHER | {"mchid": MEMBERS["mchid"]}}))

    assert text.endswith("accounts.suzhou.mchid: is the same as that of account 'shanghai'")


def test_two_accounts_cannot_both_be_the_default(write: Write) -> None:
    text = complaint(write({"shanghai": MEMBERS | {"default": True}, "suzhou": OTHER | {"default": True}}))

    assert text.endswith("accounts.suzhou.default: is true here and in account 'shanghai': one is the default")


@pytest.mark.parametrize("name", ["payscore", '"two words"', "x" * 33, '"上海"'])
def test_a_name_has_to_fit_a_path_and_a_label(write: Write, name: str) -> None:
    assert "cannot be the name of an account" in complaint(write({name: MEMBERS}))


def test_there_is_a_bound_to_the_number_of_accounts(write: Write) -> None:
    accounts = {f"a{number}": MEMBERS | {"mchid": f"{number}"} for number in range(MAX_ACCOUNTS + 1)}

    assert complaint(write(accounts)).endswith("names 65 accounts, more than the 64 allowed")
    accounts.popitem()
    assert len(read_accounts(write(accounts))) == MAX_ACCOUNTS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no account"),
        ("accounts = 5", "names no account"),
        ("[accounts]\nshanghai = 5", "accounts.shanghai: is not a table"),
        ("[account.shanghai]", "'account' is not known; there is [accounts.NAME] alone"),
        ("[accounts", "is not TOML: "),
    ],
)
def test_what_is_no_file_of_accounts_is_said_to_be_none(write: Write, text: str, said: str) -> None:
    assert said in complaint(write(text))


def test_a_file_that_is_not_there_is_named_by_its_setting(tmp_path: Path) -> None:
    variables = {"PAYSCORE_ACCOUNTS_FILE": str(tmp_path / "nowhere.toml")}

    assert complaint(Environment(variables)) == "PAYSCORE_ACCOUNTS_FILE: cannot be read: No such file or directory"


def test_a_setting_of_the_single_merchant_beside_the_file_is_an_error(write: Write) -> None:
    text = complaint(write({"shanghai": MEMBERS}, PAYSCORE_MCHID="1230000109"))

    assert text == "PAYSCORE_MCHID: is set beside PAYSCORE_ACCOUNTS_FILE, which names every account: unset one"


def test_what_a_start_may_name_as_an_account_is_what_the_file_may_call_one(write: Write) -> None:
    longest = "x" * 32
    (one,) = read_accounts(write({longest: MEMBERS}))

    started = TripStarted.read(
        f'{{"trip_id":"t","openid":"o","started_at":"2026-01-01T00:00:00Z","account":"{one.name}"}}'.encode()
    )

    assert started.account == longest
