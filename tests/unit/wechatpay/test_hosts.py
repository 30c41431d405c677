import aiohttp
import httpx
import pytest
from aiohttp.client_reqrep import ConnectionKey
from httpx_aiohttp.transport import map_aiohttp_exceptions

from payscore_worker.wechatpay.hosts import CONNECTION_FAILURES, may_be_processed

KEY = ConnectionKey(
    "api.mch.weixin.qq.com", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
)


def mapped(error: Exception) -> Exception:
    """Let the aiohttp transport make an httpx error of an aiohttp one."""
    with pytest.raises(httpx.HTTPError) as raised, map_aiohttp_exceptions():
        raise error
    return raised.value


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        mapped(aiohttp.ClientConnectorError(KEY, ConnectionRefusedError())),
        mapped(aiohttp.ClientConnectorDNSError(KEY, OSError("no such name"))),
        mapped(aiohttp.ClientConnectorCertificateError(KEY, Exception("expired"))),
        mapped(aiohttp.ConnectionTimeoutError("too slow")),
    ],
    ids=lambda error: type(error.__cause__ or error).__name__,
)
def test_a_connection_that_never_came_to_be_proves_that_nothing_was_processed(error: Exception) -> None:
    assert not may_be_processed(error)
    assert isinstance(error, CONNECTION_FAILURES)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectTimeout("whatever this transport means by it"),
        httpx.ReadTimeout("slow"),
        OSError("reset"),
        mapped(aiohttp.ServerDisconnectedError()),
        mapped(aiohttp.ClientOSError("reset")),
        mapped(aiohttp.SocketTimeoutError("slow")),
        mapped(aiohttp.ClientPayloadError("broken off")),
    ],
    ids=lambda error: type(error.__cause__ or error).__name__,
)
def test_anything_else_may_have_been_processed(error: Exception) -> None:
    assert may_be_processed(error)
