from dataclasses import dataclass, field
from typing import Literal

import pytest

from deploy.local.errors import SetupFailed, Unusable
from deploy.local.services import Service, apt_install, find_url

USERS_OWN, USUAL, OURS = "users-own", "usual", "ours"


@dataclass
class Machine:
    """A machine on which these servers run; it notes what is done to it."""

    running: set[str] = field(default_factory=set)
    installed: bool = True
    apt: Literal["installs", "installs and starts", "installs and fails", "fails"] = "installs"
    done: list[str] = field(default_factory=list)

    @property
    def service(self) -> Service:
        return Service(
            title="RabbitMQ",
            package="rabbitmq-server",
            setting="PAYSCORE_AMQP_URL",
            usual_urls=(USUAL,),
            check=self.check,
            is_installed=lambda: self.installed,
            started=lambda: OURS if OURS in self.running else None,
            start=self.start,
        )

    def check(self, url: str) -> None:
        if url not in self.running:
            raise Unusable(f"no RabbitMQ answers at {url}")

    def start(self) -> str:
        self.done.append("start")
        self.running.add(OURS)
        return OURS

    def install(self, service: Service) -> None:
        self.done.append(f"install {service.package}")
        self.installed = "installs" in self.apt
        if "starts" in self.apt:
            self.running.add(USUAL)
        if "fails" in self.apt:
            raise SetupFailed("apt-get failed")

    def find_url(self, *, named: str = "", private: bool = False) -> str:
        environ = {"PAYSCORE_AMQP_URL": named}
        return find_url(self.service, environ=environ, private=private, install=self.install)


def test_the_users_own_server_comes_first() -> None:
    machine = Machine(running={USERS_OWN, USUAL, OURS})

    assert machine.find_url(named=USERS_OWN) == USERS_OWN


def test_the_users_own_server_is_never_replaced_by_another() -> None:
    machine = Machine(running={USUAL, OURS})

    with pytest.raises(SetupFailed, match=r"PAYSCORE_AMQP_URL is set, but no RabbitMQ answers at users-own\.\nStart"):
        machine.find_url(named=USERS_OWN)
    assert machine.done == []


def test_a_server_that_runs_here_is_taken_before_one_is_started() -> None:
    machine = Machine(running={USUAL, OURS})

    assert machine.find_url() == USUAL
    assert machine.done == []


def test_an_installed_server_is_started_privately_and_found_again() -> None:
    machine = Machine()

    assert [machine.find_url(), machine.find_url()] == [OURS, OURS]
    assert machine.done == ["start"]


def test_what_is_not_installed_is_installed_and_started() -> None:
    machine = Machine(installed=False)

    assert machine.find_url() == OURS
    assert machine.done == ["install rabbitmq-server", "start"]


def test_a_server_that_its_package_starts_is_taken() -> None:
    machine = Machine(installed=False, apt="installs and starts")

    assert machine.find_url() == USUAL
    assert machine.done == ["install rabbitmq-server"]


def test_a_package_that_fails_without_its_server_ends_the_search() -> None:
    machine = Machine(installed=False, apt="fails")

    with pytest.raises(SetupFailed, match="apt-get failed"):
        machine.find_url()


def test_a_package_that_only_failed_to_start_its_server_is_good_enough() -> None:
    machine = Machine(installed=False, apt="installs and fails")

    assert machine.find_url() == OURS


def test_private_passes_over_every_server_that_is_not_ours() -> None:
    machine = Machine(running={USERS_OWN, USUAL})

    assert machine.find_url(named=USERS_OWN, private=True) == OURS


def test_who_may_not_install_is_told_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(SetupFailed, match=r"sudo apt-get update && sudo apt-get install .* rabbitmq-server\n"):
        apt_install(Machine().service)


def test_where_there_is_no_apt_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)

    with pytest.raises(SetupFailed, match=r"Install it\. Or name one that runs elsewhere in PAYSCORE_AMQP_URL\."):
        apt_install(Machine().service)
