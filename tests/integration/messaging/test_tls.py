"""A broker that asks who we are: its certificate and ours, as the parameters of the address name them."""

import asyncio
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from deploy.local.processes import free_ports
from deploy.local.rabbitmq import PrivateRabbitMQ, find_scripts, start_rabbitmq
from payscore_worker.messaging.link import BROKEN, connect

pytestmark = pytest.mark.timeout(240)  # the broker itself takes half a minute to start on a busy machine

USER = "payscore-worker"


@dataclass
class Authority:
    """Signs certificates, and puts them into a folder."""

    directory: Path

    def __post_init__(self) -> None:
        self._key, self._name = _key(), _named("authority")
        self.certificate = self._signed(self._name, self._key, is_authority=True)
        (self.directory / "ca.pem").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, name: str) -> None:
        """Make NAME.pem and NAME.key."""
        key = _key()
        certificate = self._signed(_named(name), key, is_authority=False)
        (self.directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (self.directory / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _signed(self, name: x509.Name, key: rsa.RSAPrivateKey, *, is_authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        places = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(places), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass
class Broker:
    """A broker that lets in whom it has a certificate of."""

    node: PrivateRabbitMQ
    port: int
    directory: Path

    def url(self, **parameters: str) -> str:
        return f"amqps://127.0.0.1:{self.port}/?{'&'.join(f'{name}={value}' for name, value in parameters.items())}"

    def file(self, name: str) -> str:
        return str(self.directory / name)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if find_scripts() is None:
        pytest.skip("rabbitmq-server is not installed here")
    directory, (port,) = tmp_path_factory.mktemp("certificates"), free_ports(1)
    authority = Authority(directory)
    for name in ("server", USER):
        authority.sign(name)
    settings = (
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {directory / 'ca.pem'}",
        f"ssl_options.certfile = {directory / 'server.pem'}",
        f"ssl_options.keyfile = {directory / 'server.key'}",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
        "ssl_cert_login_from = common_name",
        "auth_mechanisms.1 = EXTERNAL",
        "auth_mechanisms.2 = PLAIN",
    )
    node = start_rabbitmq(
        tmp_path_factory.mktemp("rabbitmq"), settings=settings, plugins=("rabbitmq_auth_mechanism_ssl",)
    )
    try:
        node.ctl("add_user", USER, "never typed")
        node.ctl("set_permissions", USER, ".*", ".*", ".*")
        yield Broker(node, port, directory)
    finally:
        node.remove()


async def test_our_certificate_is_who_we_are(broker: Broker) -> None:
    ours = {name: broker.file(f"{USER}.{kind}") for name, kind in (("certfile", "pem"), ("keyfile", "key"))}
    async with await connect(broker.url(cafile=broker.file("ca.pem"), auth="external", **ours), "test"):
        users = await asyncio.to_thread(broker.node.ctl, "--quiet", "list_connections", "user", "ssl")

    assert [USER, "true"] in [line.split() for line in users.splitlines()]


async def test_whom_we_do_not_trust_and_who_does_not_know_us_is_told_apart_from_a_broker(broker: Broker) -> None:
    ours = {name: broker.file(f"{USER}.{kind}") for name, kind in (("certfile", "pem"), ("keyfile", "key"))}
    with pytest.raises(BROKEN, match="certificate verify failed"):
        await connect(broker.url(auth="external", **ours), "test")
    with pytest.raises(BROKEN):
        await connect(broker.url(cafile=broker.file("ca.pem")), "test")
