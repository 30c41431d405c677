"""Start a private Prometheus, which scrapes what it is told to."""

import html
import json
import os
import shutil
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.local.errors import SetupFailed, Unusable
from deploy.local.processes import Process, free_ports, last_lines, wait_until

PROBE_SECONDS = 5.0  # it answers in milliseconds
START_SECONDS = 60.0  # a second on an idle machine
STOP_SECONDS = 30.0  # it writes its head block first


def configuration(
    *,
    worker: str = "127.0.0.1:9180",
    webhook: str = "127.0.0.1:8080",
    rabbitmq: str | None = "127.0.0.1:15692",
    interval: str = "5s",
) -> str:
    """What to scrape: by default what the roles and RabbitMQ's plugin listen on. JSON is YAML, and needs no library."""
    jobs: list[dict[str, object]] = [
        {"job_name": "payscore-worker", "static_configs": [{"targets": [worker]}]},
        {"job_name": "payscore-webhook", "static_configs": [{"targets": [webhook]}]},
    ]
    if rabbitmq is not None:
        families = {"family": ["queue_coarse_metrics", "queue_consumer_count"]}
        detailed: dict[str, object] = {"metrics_path": "/metrics/detailed", "params": families}
        jobs += [
            {"job_name": name, "static_configs": [{"targets": [rabbitmq]}], **more}
            for name, more in (("rabbitmq", {}), ("rabbitmq-queues", detailed))
        ]
    return json.dumps(
        {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(Path(__file__).resolve().parents[1] / "prometheus" / "rules.yml")],
            "scrape_configs": jobs,
        }
    )


def start_prometheus(directory: Path, configured: str) -> "PrivatePrometheus":
    """The Prometheus that lives in this directory, running with this configuration (YAML or JSON)."""
    server = PrivatePrometheus.load(directory)
    if server is not None and server.is_running() and server.configuration.read_text() == configured:
        return server
    if server is not None:
        server.stop()
    program = find_program()
    if program is None:
        raise SetupFailed("Prometheus is not installed")
    (port,) = free_ports(1)
    server = PrivatePrometheus(directory=directory.resolve(), program=program, port=port)
    server.save()
    server.configuration.write_text(configured)
    server.start()
    return server


def find_program() -> Path | None:
    """The server, where it is installed together with promtool."""
    found = shutil.which("prometheus")
    return None if found is None or shutil.which("promtool") is None else Path(found)


def check_prometheus(url: str) -> None:
    """Raise Unusable unless it is ready."""
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=PROBE_SECONDS):  # noqa: S310  our own address, http
            pass
    except (OSError, urllib.error.URLError) as error:
        raise Unusable(f"no Prometheus answers at {url}: {error}") from error


@dataclass(frozen=True)
class PrivatePrometheus:
    """A Prometheus with its own directory and port, on loopback only; it keeps its data between starts."""

    directory: Path
    program: Path
    port: int

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """The one that was last started in this directory, running or not."""
        try:
            saved = json.loads((directory / "server.json").read_text())
        except FileNotFoundError:
            return None
        return cls(directory=directory.resolve(), program=Path(saved["program"]), port=saved["port"])

    def save(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "server.json").write_text(json.dumps({"program": str(self.program), "port": self.port}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def configuration(self) -> Path:
        return self.directory / "prometheus.yml"

    def is_running(self) -> bool:
        server = Process.load(self._server_file)
        return server is not None and server.is_alive() and self._answers()

    def start(self) -> None:
        """Start it on the port it has, and wait until it answers."""
        log = self.directory / "server.log"
        words: list[str | Path] = [
            self.program,
            f"--config.file={self.configuration}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--web.console.templates={self._pages}",
        ]
        server = Process.spawn(words, env={"PATH": os.environ.get("PATH", os.defpath)}, log=log)
        server.save(self._server_file)
        wait_until(lambda: self._answers() or not server.is_alive(), seconds=START_SECONDS)
        if not self._answers():
            server.kill()
            raise SetupFailed(f"Prometheus did not start. The end of {log}:\n{last_lines(log.read_text())}")

    def stop(self) -> None:
        """End it in order: what it has gathered is there at the next start."""
        server = Process.load(self._server_file)
        if server is not None:
            server.terminate(seconds=STOP_SECONDS)
        self._server_file.unlink(missing_ok=True)

    def remove(self) -> None:
        """End it, and delete all it had."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def show_page(self, name: str, path: str) -> None:
        """Lead from /consoles/<name>.html to a path that is too long to be typed."""
        self._pages.mkdir(exist_ok=True)
        refresh = f'<meta http-equiv="refresh" content="0; url={html.escape(path)}">'
        (self._pages / f"{name}.html").write_text(f"<!doctype html><html><head>{refresh}</head></html>")

    @property
    def _pages(self) -> Path:
        return self.directory / "consoles"

    @property
    def _server_file(self) -> Path:
        return self.directory / "server.pid"

    def _answers(self) -> bool:
        with suppress(Unusable):
            check_prometheus(self.url)
            return True
        return False
