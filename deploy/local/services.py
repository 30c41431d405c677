"""Find a server: the one the user names, else one that runs here, else our own, else install it."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.local import postgresql, prometheus, rabbitmq
from deploy.local.errors import SetupFailed, Unusable
from deploy.local.processes import run

APT_SECONDS = 600.0  # half a minute on a good line; RabbitMQ brings all of Erlang with it
APT_LOCK_SECONDS = 120  # a fresh machine is often busy with its own upgrades


@dataclass(frozen=True)
class Service:
    """One kind of server: how it is recognised, started and installed."""

    title: str
    package: str  # of Debian and Ubuntu
    setting: str  # the environment variable in which users name their own
    usual_urls: tuple[str, ...]
    check: Callable[[str], None]  # raises Unusable
    is_installed: Callable[[], bool]
    started: Callable[[], str | None]  # the URL of the private one, if we have started it before and it still runs
    start: Callable[[], str]  # a private one; its URL


def find_url(
    service: Service,
    *,
    environ: Mapping[str, str],
    private: bool,
    install: Callable[[Service], None],
) -> str:
    """The URL of a server that is ready; `private` passes over those that are not ours."""
    named = environ.get(service.setting)
    if named and not private:
        return _named_by_the_user(service, named)
    if not private and (url := _running_here(service)):
        return url
    if url := service.started():
        return url
    if not service.is_installed():
        _install(service, install)
        if not private and (url := _running_here(service)):
            return url  # the package has started it
    say(f"starting {service.title} for this project alone")
    url = service.start()
    service.check(url)
    return url


def _named_by_the_user(service: Service, url: str) -> str:
    try:
        service.check(url)
    except Unusable as error:
        raise SetupFailed(
            f"{service.setting} is set, but {error}.\n"
            f"Start that server or correct {service.setting}; unset it to have one found or started."
        ) from error
    return url


def _running_here(service: Service) -> str | None:
    for url in service.usual_urls:
        with suppress(Unusable):
            service.check(url)
            return url
    return None


def _install(service: Service, install: Callable[[Service], None]) -> None:
    try:
        install(service)
    except SetupFailed:
        # apt also fails when all is in place but the service it starts does not come up, as in some containers.
        if not service.is_installed():
            raise


def rabbitmq_service(directory: Path) -> Service:
    return Service(
        title="RabbitMQ",
        package="rabbitmq-server",
        setting="PAYSCORE_AMQP_URL",
        usual_urls=(rabbitmq.DEFAULT_URL,),
        check=rabbitmq.check_rabbitmq,
        is_installed=lambda: rabbitmq.find_scripts() is not None,
        started=lambda: _url_of(rabbitmq.PrivateRabbitMQ.load(directory)),
        start=lambda: rabbitmq.start_rabbitmq(directory).url,
    )


def postgresql_service(directory: Path) -> Service:
    return Service(
        title="PostgreSQL",
        package="postgresql",
        setting="PAYSCORE_TEST_DATABASE_URL",
        usual_urls=postgresql.USUAL_URLS,
        check=postgresql.check_postgresql,
        is_installed=lambda: postgresql.find_programs() is not None,
        started=lambda: _url_of(postgresql.PrivatePostgreSQL.load(directory)),
        start=lambda: postgresql.start_postgresql(directory).url,
    )


def prometheus_service(directory: Path) -> Service:
    return Service(
        title="Prometheus",
        package="prometheus",
        setting="PAYSCORE_PROMETHEUS_URL",
        usual_urls=(),  # one that runs here already does not know of us
        check=prometheus.check_prometheus,
        is_installed=lambda: prometheus.find_program() is not None,
        started=lambda: _url_of(prometheus.PrivatePrometheus.load(directory)),
        start=lambda: prometheus.start_prometheus(directory, prometheus.configuration()).url,
    )


def _url_of(
    server: rabbitmq.PrivateRabbitMQ | postgresql.PrivatePostgreSQL | prometheus.PrivatePrometheus | None,
) -> str | None:
    return server.url if server is not None and server.is_running() else None


def apt_install(service: Service) -> None:
    """Install a server where we may; else say what to type."""
    install_package(service.title, service.package, f"Or name one that runs elsewhere in {service.setting}.")


def install_package(title: str, package: str, or_else: str = "") -> None:
    """Install a package where we may; else say what to type."""
    if shutil.which("apt-get") is None:
        raise SetupFailed(f"{title} is neither running nor installed here. Install it. {or_else}".rstrip())
    if os.geteuid() != 0:
        raise SetupFailed(
            f"{title} is neither running nor installed here. Type\n\n"
            f"    sudo apt-get update && sudo apt-get install --no-install-recommends {package}\n\n"
            f"and then the same command again. {or_else}".rstrip()
        )
    say(f"installing {title} with apt-get; this takes a minute")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "--quiet", "--yes", "-o", f"DPkg::Lock::Timeout={APT_LOCK_SECONDS}"]
    with suppress(SetupFailed):  # without a list of packages the next command fails, and says more
        run([*apt, "update"], seconds=APT_SECONDS, env=environment)
    run([*apt, "install", "--no-install-recommends", package], seconds=APT_SECONDS, env=environment)


def say(text: str) -> None:
    """Tell the person who waits; standard output belongs to the answer."""
    sys.stderr.write(f"{text}\n")
