from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.rabbitmq import PrivateRabbitMQ, find_scripts, start_rabbitmq


@pytest.fixture(scope="session")
def measured_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A broker of our own, with the plugin for Prometheus."""
    if find_scripts() is None:
        pytest.skip("rabbitmq-server is not installed here")
    directory: Path = tmp_path_factory.mktemp("measured-rabbitmq")
    node = start_rabbitmq(directory, with_metrics=True)
    yield node
    node.remove()
