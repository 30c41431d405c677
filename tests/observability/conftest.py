from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.errors import SetupFailed
from deploy.local.prometheus import find_program
from deploy.local.rabbitmq import PrivateRabbitMQ, find_scripts, start_rabbitmq
from deploy.local.services import apt_install, prometheus_service


@pytest.fixture(scope="session")
def prometheus_installed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prometheus and promtool, installed where we may."""
    if find_program() is None:
        try:
            apt_install(prometheus_service(tmp_path_factory.mktemp("prometheus")))
        except SetupFailed as error:
            if find_program() is None:
                pytest.skip(str(error))


@pytest.fixture(scope="session")
def measured_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A broker of our own, with the plugin for Prometheus."""
    if find_scripts() is None:
        pytest.skip("rabbitmq-server is not installed here")
    directory: Path = tmp_path_factory.mktemp("measured-rabbitmq")
    node = start_rabbitmq(directory, with_metrics=True)
    yield node
    node.remove()
