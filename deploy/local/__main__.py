"""RabbitMQ, PostgreSQL and Prometheus for demo and tests: `python3 -m deploy.local`, or `python3 deploy/local`."""

import argparse
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # called by its path, it finds itself like this

from deploy.local.errors import SetupFailed, Unusable
from deploy.local.postgresql import PrivatePostgreSQL
from deploy.local.prometheus import PrivatePrometheus
from deploy.local.rabbitmq import PrivateRabbitMQ, home_of_rabbitmq
from deploy.local.services import (
    Service,
    apt_install,
    find_url,
    postgresql_service,
    prometheus_service,
    rabbitmq_service,
    say,
)

RUN = Path(__file__).resolve().parents[2] / ".run"  # whatever we start keeps its data here
SERVICES = {
    "rabbitmq": rabbitmq_service(RUN / home_of_rabbitmq()),
    "postgresql": postgresql_service(RUN / "postgresql"),
    "prometheus": prometheus_service(RUN / "prometheus"),
}


def main() -> int:
    arguments = _parser().parse_args()
    try:
        with _alone():
            match arguments.command:
                case "url":
                    print_url(SERVICES[arguments.service], private=arguments.private)
                case "status":
                    status()
                case "stop":
                    stop()
                case "clean":
                    clean()
    except (SetupFailed, Unusable, OSError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:  # what was half started is found and replaced by the next call
        return 130
    return 0


def print_url(service: Service, *, private: bool) -> None:
    url = find_url(service, environ=os.environ, private=private, install=apt_install)
    sys.stdout.write(f"{url}\n")


def status() -> None:
    for name, server in _ours():
        state = "not started" if server is None else f"runs, {server.url}" if server.is_running() else "stopped"
        sys.stdout.write(f"{name}: {state}\n")


def stop() -> None:
    for name, server in _ours():
        if server is not None:
            if server.is_running():
                say(f"stopping {name}")
            server.stop()  # also what hangs and does not answer


def clean() -> None:
    for _, server in _ours():
        if server is not None:
            server.remove()
    shutil.rmtree(RUN)


def _ours() -> list[tuple[str, PrivateRabbitMQ | PrivatePostgreSQL | PrivatePrometheus | None]]:
    return [
        *(("RabbitMQ", PrivateRabbitMQ.load(home)) for home in sorted(RUN.glob("rabbitmq*"))),
        ("PostgreSQL", PrivatePostgreSQL.load(RUN / "postgresql")),
        ("Prometheus", PrivatePrometheus.load(RUN / "prometheus")),
    ]


@contextmanager
def _alone() -> Iterator[None]:
    """Two terminals that type `make test` together start one server, not two."""
    RUN.mkdir(exist_ok=True)
    with (RUN / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/local", description="RabbitMQ, PostgreSQL and Prometheus for demo and tests."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    url = commands.add_parser("url", help="print the URL of a server that is ready; find, start or install one")
    url.add_argument("service", choices=sorted(SERVICES))
    url.add_argument("--private", action="store_true", help="pass over servers that we did not start")
    commands.add_parser("status", help="say what we have started")
    commands.add_parser("stop", help="stop what we have started")
    commands.add_parser("clean", help="stop it, and delete its data")
    return parser


if __name__ == "__main__":
    sys.exit(main())
