"""`account list`: every merchant number by its name, and no key of any."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from payscore_worker.cli.accounts import account
from payscore_worker.cli.audit import _owners
from payscore_worker.settings import Environment
from payscore_worker.storage.belonging import Owners
from tests.unit.test_accounts import KEY, MEMBERS, OTHER, PEM, toml
from tests.unit.test_settings import MERCHANT

Asked = Callable[..., str]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    (tmp_path / "key.pem").write_text(PEM)
    (tmp_path / "apiv3").write_text(KEY)
    (tmp_path / "accounts.toml").write_text(toml({"shanghai": MEMBERS, "suzhou": OTHER | {"default": True}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAYSCORE_ACCOUNTS_FILE", "accounts.toml")

    def ask(*words: str) -> str:
        result = CliRunner().invoke(account, ["list", *words])
        assert result.exit_code == 0
        assert KEY not in result.output
        assert "AAAA" not in result.output
        return result.output

    return ask


def test_the_accounts_are_listed_for_scripts_the_default_one_first(asked: Asked) -> None:
    assert msgspec.json.decode(asked("--json")) == {
        "accounts": [
            {
                "name": "suzhou",
                "default": True,
                "mchid": "1900000202",
                "family": "serviceorder",
                "service_id": "500001",
                "appids": ["wxshanghai1", "wxshanghai2"],
                "notify_url": "https://pay.example.com/notify/suzhou",
            },
            {
                "name": "shanghai",
                "default": False,
                "mchid": "1900000101",
                "family": "payafter",
                "service_id": "500001",
                "appids": ["wxshanghai1", "wxshanghai2"],
                "notify_url": "https://pay.example.com/notify/shanghai",
            },
        ]
    }


def test_the_accounts_are_listed_for_people(asked: Asked) -> None:
    text = asked()

    assert text.index("suzhou") < text.index("shanghai")


def test_the_audit_tells_accounts_apart_where_there_are_several(asked: Asked) -> None:
    asked()  # so that there are

    assert _owners(Environment()) == Owners(default="suzhou", names={"1900000202": "suzhou", "1900000101": "shanghai"})


def test_the_audit_tells_one_account_apart_from_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert _owners(Environment(MERCHANT)) is None
    assert _owners(Environment({})) is None
