"""The keys are made once and kept."""

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from payscore_worker.simulator import SimulatorKeys
from payscore_worker.simulator.keys import KEYS_FILE


def facts(keys: SimulatorKeys) -> tuple[str, ...]:
    return (
        keys.mchid,
        keys.appid,
        keys.service_id,
        keys.merchant_private_key_pem,
        keys.merchant.certificate_pem,
        keys.platform.certificate_pem,
        keys.public_key_id,
        keys.public_key_pem,
        keys.apiv3_key,
        keys.apiv2_key,
    )


def test_a_second_start_has_the_same_keys(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "simulator"
    assert facts(SimulatorKeys.load_or_create(directory)) == facts(SimulatorKeys.load_or_create(directory))


def test_another_directory_has_other_keys(tmp_path: Path) -> None:
    first, second = (facts(SimulatorKeys.load_or_create(tmp_path / name)) for name in ("a", "b"))
    assert not set(first) & set(second)


def test_only_their_owner_can_read_them(tmp_path: Path) -> None:
    directory = tmp_path / "simulator"
    SimulatorKeys.load_or_create(directory)
    assert [file.name for file in directory.iterdir()] == [KEYS_FILE]
    assert stat.S_IMODE((directory / KEYS_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_two_starts_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(SimulatorKeys.load_or_create, [tmp_path, tmp_path])
    assert facts(first) == facts(second)


@pytest.mark.parametrize("content", ["", "{}", "not json"])
def test_a_spoilt_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / KEYS_FILE).write_text(content)
    with pytest.raises(ValueError, match=f"{KEYS_FILE} does not hold a simulator's keys"):
        SimulatorKeys.load_or_create(tmp_path)


def test_the_keys_look_like_wechats(keys: SimulatorKeys) -> None:
    assert re.fullmatch(r"1\d{9}", keys.mchid)
    assert re.fullmatch(r"wx[0-9a-f]{16}", keys.appid)
    assert re.fullmatch(r"\d{31}", keys.service_id)
    assert re.fullmatch(r"PUB_KEY_ID_\d{32}", keys.public_key_id)
    assert len(keys.apiv3_key.encode()) == len(keys.apiv2_key.encode()) == 32
    for certified in (keys.merchant, keys.platform):
        assert re.fullmatch(r"[0-9A-F]{40}", certified.serial_no)
        assert certified.key.key_size == 2048


def test_a_serial_is_that_of_its_certificate_and_the_certificate_that_of_its_key(keys: SimulatorKeys) -> None:
    certificate = x509.load_pem_x509_certificate(keys.merchant.certificate_pem.encode())
    private_key = load_pem_private_key(keys.merchant_private_key_pem.encode(), password=None)
    assert int(keys.merchant.serial_no, 16) == certificate.serial_number
    assert certificate.public_key() == private_key.public_key()


def test_the_secrets_do_not_show(keys: SimulatorKeys) -> None:
    assert keys.apiv3_key not in repr(keys)
    assert keys.apiv2_key not in repr(keys)
