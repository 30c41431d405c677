"""Closing a connection instead of answering: a call that was processed, and whose reply was lost."""

from typing import Final

import httpx
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

EXTENSION: Final = "payscore_simulator.connection"
"""An ASGI extension by which the server lets the app close a connection; `serving` offers it under uvicorn."""


class DroppedResponse(Response):
    """The response that would have been sent, and is not.

    A server with the extension closes the connection without a byte. Any other server is sent the head and then told
    that the app has failed, so that it cuts the reply off; and httpx.ASGITransport hands the error on to its client,
    which sees what it would see of a real connection.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extension = scope.get("extensions", {}).get(EXTENSION)
        if extension is None:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        extension["close"]()
        while (await receive())["type"] != "http.disconnect":
            pass  # the server has noticed only now
