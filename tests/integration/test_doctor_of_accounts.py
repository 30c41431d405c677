"""`doctor` over a file of accounts, and WeChat Pay as two merchants know it: each is proved for itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from payscore_worker.accounts import read_accounts
from payscore_worker.cli import doctor
from payscore_worker.settings import BrokerSettings, Environment
from payscore_worker.simulator import Simulator, SimulatorConfig, SimulatorKeys, create_app
from payscore_worker.simulator.environment import Company, write_accounts
from tests.integration.settlement.town import simulator_keys

ACCOUNTS = ("shanghai", "suzhou")
CHECKED = ("keys", "verification keys", "signed call", "echo", "clock")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Environment]:
    """Have two merchants at one WeChat Pay, and the file that names them."""
    keys = {"shanghai": simulator_keys(), "suzhou": SimulatorKeys.generate()}
    configs = {
        name: SimulatorConfig(keys=own, notify_url=f"https://pay.example.com/notify/{name}")
        for name, own in keys.items()
    }
    transport = httpx.ASGITransport(create_app(*(Simulator(config) for config in configs.values())))
    monkeypatch.setattr(doctor, "make_wechatpay_transport", lambda: transport)
    companies = [Company(name=name, config=config, family="payafter") for name, config in configs.items()]
    told = write_accounts(tmp_path, companies, base_url="http://wechatpay.test")
    return lambda: Environment(told)


async def examined(environment: Environment) -> dict[str, dict[str, bool | None]]:
    found: dict[str, dict[str, bool | None]] = {}
    for account in read_accounts(environment):
        checks = doctor._account(account, BrokerSettings(amqp_url="amqp://guest:guest@127.0.0.1:1/"), callback=False)
        found[account.name] = {check.name: check.ok async for check in checks}
    return found


async def test_keys_signed_call_and_echo_of_each_account_are_proved(settings: Callable[[], Environment]) -> None:
    assert await examined(settings()) == {account: dict.fromkeys(CHECKED, True) for account in ACCOUNTS}


@pytest.mark.parametrize("key", ["apiv3_key", "merchant_private_key"])
async def test_a_wrong_key_of_one_account_is_that_accounts_alone(
    settings: Callable[[], Environment], tmp_path: Path, key: str
) -> None:
    (tmp_path / f"suzhou.{key}").write_bytes((tmp_path / f"shanghai.{key}").read_bytes())

    found = await examined(settings())

    assert found["shanghai"] == dict.fromkeys(CHECKED, True)
    assert (found["suzhou"]["verification keys"], found["suzhou"]["signed call"]) == (False, False)
    assert found["suzhou"]["echo"] is None  # not sent: it would say the same


async def test_a_key_that_cannot_be_loaded_is_named_with_file_account_and_member(
    settings: Callable[[], Environment], tmp_path: Path
) -> None:
    (tmp_path / "suzhou.merchant_private_key").write_text(
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    )
    _, suzhou = read_accounts(settings())

    (check,) = [
        check
        async for check in doctor._account(
            suzhou, BrokerSettings(amqp_url="amqp://guest:guest@127.0.0.1:1/"), callback=False
        )
    ]

    assert (check.name, check.ok) == ("keys", False)
    assert "accounts.suzhou.merchant_private_key_file" in check.detail
    assert "AAAA" not in check.detail


@pytest.mark.parametrize("names", [ACCOUNTS, ("shanghai",)])
async def test_each_check_is_named_after_its_account_where_there_are_several(
    settings: Callable[[], Environment], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PAYSCORE_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path / 'nowhere' / 'test.db'}")
    accounts = [one for one in read_accounts(settings()) if one.name in names]
    monkeypatch.setattr(doctor, "read_accounts", lambda _environment: tuple(accounts))
    environment = Environment({"PAYSCORE_AMQP_URL": "amqp://guest:guest@127.0.0.1:1/"})

    checks = [replace(check, detail="") async for check in doctor._checks(environment, callback=False)]

    of = [f" of {name}" for name in names] if len(names) > 1 else [""]
    assert [f"echo{account}" for account in of] == [check.name for check in checks if check.name.startswith("echo")]
