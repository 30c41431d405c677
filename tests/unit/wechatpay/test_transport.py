"""Our connections to WeChat Pay: few, kept, verified, and nothing that comes over them is opened unasked."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from payscore_worker.wechatpay import make_transport

PATIENCE_SECONDS = 60.0
BODY = gzip.compress(b'{"order_id":"42"}')
HEAD = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


@dataclass
class Server:
    """Answers every request on every connection, and sees how many there are."""

    url: str = ""
    connections: int = 0
    most: int = 0
    requests: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    _open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open += 1
        self.most = max(self.most, self._open)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                await asyncio.sleep(0)  # whoever else wants to come has the time to
                writer.write(HEAD + BODY)
        except asyncio.IncompleteReadError:
            self.hung_up.set()
        finally:
            self._open -= 1
            writer.close()


@asynccontextmanager
async def a_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        server.url = f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
        yield server


def a_client(*, max_connections: int = 10, idle_seconds: float = 20) -> httpx.AsyncClient:
    transport = make_transport(max_connections=max_connections, idle_seconds=idle_seconds)
    return httpx.AsyncClient(transport=transport, timeout=PATIENCE_SECONDS)


async def test_calls_one_after_the_other_share_a_connection() -> None:
    async with a_server() as server, a_client() as client:
        for _ in range(3):
            await client.get(server.url)

    assert (server.requests, server.connections) == (3, 1)


async def test_no_more_connections_are_opened_than_allowed() -> None:
    async with a_server() as server, a_client(max_connections=2) as client:
        await asyncio.gather(*(client.get(server.url) for _ in range(20)))

    assert (server.requests, server.most) == (20, 2)


async def test_a_connection_that_idles_is_hung_up_before_the_other_side_does() -> None:
    async with a_server() as server, a_client(idle_seconds=0.05) as client:
        await client.get(server.url)
        async with asyncio.timeout(10):
            await server.hung_up.wait()


async def test_what_is_compressed_arrives_as_it_was_sent() -> None:
    async with a_server() as server, a_client() as client, client.stream("GET", server.url) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])

    assert raw == BODY


@pytest.fixture
def own_authority(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a server's certificate that nobody has vouched for, and the file that would."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    trusted, both = tmp_path / "trusted.pem", tmp_path / "both.pem"
    pem = certificate.public_bytes(Encoding.PEM)
    trusted.write_bytes(pem)
    both.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(both)
    return tls, trusted


async def test_a_server_that_nobody_vouches_for_is_not_talked_to(own_authority: tuple[ssl.SSLContext, Path]) -> None:
    tls, _ = own_authority
    async with a_server(tls) as server, a_client() as client:
        with pytest.raises(httpx.TransportError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(server.url)

    assert server.requests == 0


async def test_another_authority_can_be_named_as_for_any_program(
    own_authority: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, trusted = own_authority
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))

    async with a_server(tls) as server, a_client() as client:
        await client.get(server.url)

    assert server.requests == 1
