import aiohttp
import httpx
import pytest
from aiohttp.client_reqrep import ConnectionKey
from httpx_aiohttp.transport import map_aiohttp_exceptions

from payscore_worker.wechatpay.hosts import CONNECTION_FAILURES, TALLY, Hosts, Tally, may_be_processed
from tests.unit.wechatpay.wechat import Clock

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


async def test_the_backup_gets_the_same_request_under_its_own_address(clock: Clock) -> None:
    asked: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.host == "first":
            raise httpx.ConnectError("refused")
        return httpx.Response(200)

    hosts = Hosts(["https://first", "http://backup:8080"], httpx.MockTransport(answer), clock)
    patience = {"connect": 3, "read": 10, "write": 10, "pool": 10}
    request = httpx.Request(
        "POST", "https://first/v3/x?a=1", content=b"{}", extensions={TALLY: Tally(), "timeout": patience}
    )
    await hosts.handle_async_request(request)

    _, again = asked
    assert (again.method, str(again.url), again.content) == ("POST", "http://backup:8080/v3/x?a=1", b"{}")
    assert again.headers["Host"] == "backup:8080"
    assert (again.extensions["timeout"], again.extensions[TALLY].sends) == (patience, 2)
