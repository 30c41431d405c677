"""The connections to WeChat Pay: kept alive, without cookies, and nothing that comes over them is decompressed."""

import aiohttp
import httpx_aiohttp


def make_transport(*, max_connections: int, idle_seconds: float) -> httpx_aiohttp.AiohttpTransport:
    """Make the transport; it opens nothing before its first request.

    It trusts whom httpx trusts: `SSL_CERT_FILE` and `SSL_CERT_DIR` name other authorities.
    """

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=max_connections, keepalive_timeout=idle_seconds, ssl=transport.ssl_context
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    transport = httpx_aiohttp.AiohttpTransport(client=session)
    return transport
