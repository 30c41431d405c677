"""nginx takes our configuration, and lets the callbacks through and nothing else."""

import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.local.processes import free_ports
from tests.deployment.tools import run
from tests.programs import provide

HOST: Final = "pay.example.com"
START_SECONDS: Final = 30.0
FRAME: Final = """
daemon off;
pid {here}/nginx.pid;
error_log {here}/error.log;
events {{}}
http {{
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    include {here}/payscore.conf;
}}
"""


class Webhook(BaseHTTPRequestHandler):
    """Answers as the webhook does, and remembers what came."""

    came: Final[list[tuple[str, bytes, str | None]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.came.append((self.path, body, self.headers["Wechatpay-Signature"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815  the server's own name for it

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the server's own name for it
        """Be quiet."""


@dataclass(frozen=True)
class Nginx:
    """A server with our configuration, on ports and under a certificate of the test."""

    program: str
    directory: Path
    port: int

    @property
    def words(self) -> list[str]:
        return [self.program, "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        context = ssl._create_unverified_context()  # noqa: S323  a certificate of this test
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        connection.request(method, path, body, {"Host": HOST, "Content-Length": str(len(body)), **headers})
        status = connection.getresponse().status
        connection.close()
        return status


def certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = made.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    (directory / f"{HOST}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (directory / f"{HOST}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    program = provide("nginx", package="nginx-light")
    directory = tmp_path_factory.mktemp("nginx")
    certificate(directory)
    http, https, upstream = free_ports(3)
    ours = (Path(__file__).parents[2] / "deploy" / "nginx" / "payscore.conf").read_text(encoding="utf-8")
    for theirs, here in {
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen [::]:80;": "",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{https} ssl http2;",
        "listen [::]:443 ssl http2;": "",
        "server 127.0.0.1:8080 ": f"server 127.0.0.1:{upstream} ",
        "/etc/nginx/tls/": f"{directory}/",
        "/var/log/nginx/": f"{directory}/",
    }.items():
        assert theirs in ours
        ours = ours.replace(theirs, here)
    (directory / "payscore.conf").write_text(ours)
    (directory / "nginx.conf").write_text(FRAME.format(here=directory))
    server = Nginx(program, directory, https)
    webhook = ThreadingHTTPServer(("127.0.0.1", upstream), Webhook)
    threading.Thread(target=webhook.serve_forever, daemon=True).start()
    process = Popen(server.words, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)  # noqa: S603  our own words
    try:
        _wait_until_it_listens(server)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)
        webhook.shutdown()
        webhook.server_close()


def _wait_until_it_listens(nginx: Nginx) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            nginx.ask("GET", "/")
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def test_nginx_finds_nothing_wrong(nginx: Nginx) -> None:
    found = run(*nginx.words, "-t")

    assert found.returncode == 0, found.stderr
    assert "[warn]" not in found.stderr


def test_a_callback_arrives_with_its_bytes_and_its_signature(nginx: Nginx) -> None:
    body = '{"id": "n1",  "摘要": "支付成功"}'.encode()

    assert nginx.ask("POST", "/notify/payscore", body, **{"Wechatpay-Signature": "s1"}) == 200
    assert Webhook.came[-1] == ("/notify/payscore", body, "s1")


def test_each_account_has_a_path_of_its_own(nginx: Nginx) -> None:
    assert nginx.ask("POST", "/notify/suzhou", b"{}") == 200
    assert Webhook.came[-1][0] == "/notify/suzhou"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/notify/", 404),
        ("POST", "/notify/suzhou/more", 404),
        ("GET", "/notify/payscore", 403),
        ("PUT", "/notify/payscore", 403),
        ("GET", "/metrics", 404),
        ("GET", "/healthz", 404),
        ("POST", "/notify/payscore/", 404),
        ("POST", "/", 404),
    ],
)
def test_nothing_else_is_let_through(nginx: Nginx, method: str, path: str, status: int) -> None:
    before = len(Webhook.came)

    assert nginx.ask(method, path) == status
    assert len(Webhook.came) == before


def test_a_body_that_no_notification_has_is_refused(nginx: Nginx) -> None:
    assert nginx.ask("POST", "/notify/payscore", b"x" * (256 * 1024 + 1)) == 413
    assert nginx.ask("POST", "/notify/payscore", b"x" * 65_536) == 200


def test_the_list_of_sources_is_understood_where_it_is_wanted(nginx: Nginx, deploy: Path, tmp_path: Path) -> None:
    shutil.copy(deploy / "nginx" / "payscore-sources.conf", tmp_path)
    wanted = (nginx.directory / "payscore.conf").read_text(encoding="utf-8")
    line = "# include /etc/nginx/payscore-sources.conf;"
    assert line in wanted
    (tmp_path / "payscore.conf").write_text(wanted.replace(line, f"include {tmp_path}/payscore-sources.conf;"))
    (tmp_path / "nginx.conf").write_text(FRAME.format(here=tmp_path))

    found = run(nginx.program, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-t")

    assert found.returncode == 0, found.stderr
