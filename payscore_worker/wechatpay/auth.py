"""Signs every request as it leaves, and believes no success that is not signed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from functools import partial
from typing import Final

import httpx

from payscore_worker.errors import OutcomeUnknown, SettlementError, WechatPayUnavailable
from payscore_worker.wechatpay.hosts import TALLY, Tally
from payscore_worker.wechatpay.keys import VerificationKeys
from payscore_worker.wechatpay.signatures import SERIAL_HEADER, TIMESTAMP_HEADER, Signer
from payscore_worker.wechatpay.skew import Skew
from payscore_worker.wechatpay.times import read_date
from payscore_worker.wechatpay.verification import Verifier

MAX_ANSWER_BYTES: Final = 1 << 20
"""An answer is a few KB, a list of certificates too; nothing larger is worth its memory."""

KEY_SECONDS: Final = 10.0
"""For a first key, before a call is sent: less than a try may take, and a download that comes later serves the next."""


class SigningAuth(httpx.Auth):
    """Signs requests. Enough for the download of certificates, which are verified by what they bring."""

    def __init__(
        self,
        *,
        signer: Signer,
        signers: Executor,
        keys: VerificationKeys,
        clock: Callable[[], datetime],
        skew: Skew,
    ) -> None:
        self._signer = signer
        self._signers = signers
        self._keys = keys
        self._clock = clock
        self._skew = skew

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        await self.prepare(request)
        serial = self._keys.wanted_serial
        if serial is not None:
            request.headers[SERIAL_HEADER] = serial
        request.headers["Authorization"] = await self._authorize(request)
        sent = self._clock()
        response = yield request
        _refuse_encoded(response)
        response.stream = _Bounded(response.stream)  # type: ignore[arg-type]  # asynchronous: httpx has looked
        await response.aread()
        came = self._clock()
        if response.is_success:
            await self.check(response, sent=sent, came=came)
        else:
            self._skew.unsigned(read_date(response.headers.get("Date", "")), sent=sent, came=came)

    async def prepare(self, request: httpx.Request) -> None:
        """Send it as soon as it is signed."""

    async def check(self, response: httpx.Response, *, sent: datetime, came: datetime) -> None:
        """Leave the answer unverified."""

    async def _authorize(self, request: httpx.Request) -> str:
        """Sign in a thread: RSA lets go of the interpreter, and fifty signatures in a row would hold up the loop."""
        sign = partial(
            self._signer.authorize,
            method=request.method,
            target=request.url.raw_path.decode(),
            body=request.content,
            timestamp=int(self._clock().timestamp()),
        )
        return await asyncio.get_running_loop().run_in_executor(self._signers, sign)


class WechatPayAuth(SigningAuth):
    """Signs requests and verifies successes, on their raw bytes (reference payscore-api E.1, E.2)."""

    def __init__(
        self,
        *,
        signer: Signer,
        signers: Executor,
        keys: VerificationKeys,
        clock: Callable[[], datetime],
        skew: Skew,
    ) -> None:
        super().__init__(signer=signer, signers=signers, keys=keys, clock=clock, skew=skew)
        self._verifier = Verifier(keys, clock)

    async def prepare(self, request: httpx.Request) -> None:
        """Have a key first: an order that is made, and its acceptance not believed, is money in the dark.

        Raises:
            WechatPayUnavailable: there is none; the call was not sent.
            OutcomeUnknown: there is none any more; an earlier try of the call may have been processed.

        """
        try:
            async with asyncio.timeout(KEY_SECONDS):
                await self._keys.ensure()
        except (SettlementError, TimeoutError) as error:
            tally: Tally = request.extensions[TALLY]
            kind = OutcomeUnknown if tally.unsure else WechatPayUnavailable
            reason = str(error) or type(error).__name__
            raise kind(f"not sent, for lack of a key to verify the answer: {reason}", attempts=tally.sends) from None

    async def check(self, response: httpx.Response, *, sent: datetime, came: datetime) -> None:
        """Refuse to believe a success that nothing proves; an error is only something to classify."""
        doubt = await self._verifier.doubt(response.headers, response.content)
        if doubt is not None:
            raise OutcomeUnknown(f"the answer is not verified: {doubt}")
        told = datetime.fromtimestamp(int(response.headers[TIMESTAMP_HEADER]), UTC)
        self._skew.signed(told, sent=sent, came=came)


def _refuse_encoded(response: httpx.Response) -> None:
    """Refuse what is compressed, before it is opened: we ask for none, and a little of it can fill the memory."""
    encodings = response.headers.get("Content-Encoding", "").lower().split(",")
    if any(encoding.strip() not in ("", "identity") for encoding in encodings):
        raise OutcomeUnknown("the answer is compressed, which we did not ask for")


class _Bounded(httpx.AsyncByteStream):
    """An answer that is cut off when it grows too large."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_ANSWER_BYTES
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise OutcomeUnknown(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
