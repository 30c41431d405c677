"""A Prometheus of our own starts, is found again, and says why where it does not start."""

import json
from pathlib import Path

import pytest

from deploy.local.errors import SetupFailed, Unusable
from deploy.local.prometheus import PrivatePrometheus, check_prometheus, configuration, start_prometheus

pytestmark = pytest.mark.usefixtures("prometheus_installed")


def test_it_starts_is_found_again_and_ends(tmp_path: Path) -> None:
    directory = tmp_path / "prometheus"
    server = start_prometheus(directory, configuration())
    try:
        check_prometheus(server.url)
        assert start_prometheus(directory, configuration()) == server

        other = json.dumps({"scrape_configs": []})
        server = start_prometheus(directory, other)
        assert server.configuration.read_text() == other

        server.stop()
        assert not server.is_running()
        with pytest.raises(Unusable, match="no Prometheus answers at"):
            check_prometheus(server.url)
        assert PrivatePrometheus.load(directory) == server
    finally:
        server.remove()
    assert not directory.exists()


def test_a_start_that_fails_shows_the_log_and_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(SetupFailed, match="scrape_nonsense"):
        start_prometheus(tmp_path, json.dumps({"scrape_nonsense": []}))

    server = PrivatePrometheus.load(tmp_path)
    assert server is not None
    assert not server.is_running()
