import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import rabbitmq
from deploy.local.errors import SetupFailed, Unusable
from deploy.local.rabbitmq import PrivateRabbitMQ, check_rabbitmq, start_rabbitmq

TUNE = struct.pack(">BHIHHHIHB", 1, 0, 12, 10, 30, 0, 131_072, 60, 0xCE)


def a_start(version: str) -> bytes:
    """Connection.Start as RabbitMQ sends it, with the server property that counts."""
    properties = b"\x07versionS" + struct.pack(">I", len(version)) + version.encode()
    arguments = b"\x00\x09" + struct.pack(">I", len(properties)) + properties
    payload = struct.pack(">HH", 10, 10) + arguments
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


@pytest.mark.parametrize("version", ["3.10.8", "3.13.7", "4.0.0-rc.1"])
def test_a_broker_that_lets_the_user_in_will_do(answering: Callable[..., int], version: str) -> None:
    check_rabbitmq(f"amqp://guest:guest@127.0.0.1:{answering(a_start(version), TUNE)}/")


def test_of_several_addresses_one_that_lets_the_user_in_will_do(answering: Callable[..., int]) -> None:
    port = answering(a_start("3.10.8"), TUNE)

    check_rabbitmq(f"amqp://127.0.0.1:1/,amqp://guest:guest@127.0.0.1:{port}/")
    with pytest.raises(Unusable, match=r"no RabbitMQ answers at 127\.0\.0\.1:2"):
        check_rabbitmq("amqp://127.0.0.1:1/,amqp://127.0.0.1:2/")


def test_a_broker_that_is_too_old_is_named_with_its_version(answering: Callable[..., int]) -> None:
    port = answering(a_start("3.9.27"), TUNE)

    with pytest.raises(Unusable, match=r"RabbitMQ 3\.9\.27 runs at 127\.0\.0\.1:\d+, and 3\.10 is the oldest"):
        check_rabbitmq(f"amqp://guest:guest@127.0.0.1:{port}/")


def test_a_wrong_password_is_told_without_showing_it(answering: Callable[..., int]) -> None:
    port = answering(a_start("3.10.8"), b"")

    with pytest.raises(Unusable, match="does not let this user in") as refusal:
        check_rabbitmq(f"amqp://guest:sesame@127.0.0.1:{port}/")

    assert "sesame" not in str(refusal.value)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x01\x00\x00", b""])
def test_what_is_no_broker_is_told_apart(answering: Callable[..., int], answer: bytes) -> None:
    with pytest.raises(Unusable, match=r"AMQP 0-9-1"):
        check_rabbitmq(f"amqp://127.0.0.1:{answering(answer)}/")


def test_silence_is_not_waited_for_for_ever(answering: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq, "PROBE_SECONDS", 0.1)

    with pytest.raises(Unusable, match="timed out"):
        check_rabbitmq(f"amqp://127.0.0.1:{answering()}/")


def test_a_closed_port_is_told_with_its_address() -> None:
    with pytest.raises(Unusable, match=r"no RabbitMQ answers at 127\.0\.0\.1:1: .*refused"):
        check_rabbitmq("amqp://guest:guest@127.0.0.1:1/")


@pytest.mark.parametrize("url", ["", "localhost:5672", "http://localhost:5672/", "amqp:///", "amqp://host:port/"])
def test_what_is_no_amqp_address_is_told(url: str) -> None:
    with pytest.raises(Unusable, match="this is no AMQP address"):
        check_rabbitmq(url)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("amqp://broker", "broker:5672"),
        ("amqps://user:secret@broker/vhost", "broker:5671"),
        ("amqp://user:p%40ss@[::1]:5673/", "::1:5673"),
    ],
)
def test_an_address_is_shown_as_host_and_port(url: str, place: str) -> None:
    assert rabbitmq.where(url) == place


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    if rabbitmq.find_scripts() is None:
        pytest.skip("RabbitMQ is not installed on this machine")
    return tmp_path / "rabbitmq"


def test_a_private_broker_starts_restarts_and_ends(directory: Path) -> None:
    broker = start_rabbitmq(directory)
    try:
        check_rabbitmq(broker.url)
        assert start_rabbitmq(directory) == broker  # the second call finds the first one's

        broker.ctl("add_vhost", "kept")
        broker.restart()
        assert "kept" in broker.ctl("list_vhosts", "--quiet")
        with pytest.raises(SetupFailed, match="delete_vhost"):
            broker.ctl("delete_vhost", "never-made")

        broker.kill()
        assert not broker.is_running()
        with pytest.raises(Unusable):
            check_rabbitmq(broker.url)
        assert PrivateRabbitMQ.load(directory) == broker
    finally:
        broker.remove()
    assert not directory.exists()


def test_a_start_that_fails_shows_the_log_and_leaves_nothing_running(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = directory.parent / "scripts"
    scripts.mkdir()
    (scripts / "rabbitmq-server").write_text("#!/bin/sh\necho 'the disk is full'\nexit 1\n")
    (scripts / "rabbitmq-server").chmod(0o700)
    monkeypatch.setattr(rabbitmq, "find_scripts", lambda: scripts)

    with pytest.raises(SetupFailed, match="the disk is full"):
        start_rabbitmq(directory)

    assert not list(directory.glob("*.pid"))


@pytest.fixture
def another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with another RabbitMQ's scripts, named as such."""
    for name in ("rabbitmq-server", "rabbitmqctl"):
        (tmp_path / name).touch()
    monkeypatch.setenv(rabbitmq.SCRIPTS_SETTING, str(tmp_path))
    return tmp_path


def test_another_rabbitmq_is_taken_where_it_is_named(another: Path) -> None:
    assert rabbitmq.find_scripts() == another


def test_another_rabbitmq_has_a_home_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(rabbitmq.SCRIPTS_SETTING, raising=False)
    assert rabbitmq.home_of_rabbitmq() == "rabbitmq"

    monkeypatch.setenv(rabbitmq.SCRIPTS_SETTING, "/opt/rabbitmq-4.0/bin")
    assert rabbitmq.home_of_rabbitmq() == "rabbitmq-opt-rabbitmq-4.0-bin"


def test_a_folder_without_a_rabbitmq_is_named(another: Path) -> None:
    (another / "rabbitmqctl").unlink()

    with pytest.raises(SetupFailed, match=f"PAYSCORE_TEST_RABBITMQ is set, but there is no .* in {another}"):
        rabbitmq.find_scripts()


def test_the_erlang_beside_another_rabbitmq_comes_first(another: Path, tmp_path: Path) -> None:
    node = PrivateRabbitMQ(
        directory=tmp_path, scripts=another, amqp_port=1, distribution_port=2, epmd_port=3, metrics_port=None
    )

    assert node._environment()["PATH"].startswith(f"{another}:")
