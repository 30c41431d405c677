"""A merchant in another process, whose words are those of a client that others wrote."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

Json = dict[str, Any]

ANSWER_SECONDS: Final = 30.0
"""Of a busy machine that has just started an interpreter; an answer comes within milliseconds."""
LINE_BYTES: Final = 1_048_576


class Merchant:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tell(self, line: Json) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        await self._process.stdin.drain()

    async def answer(self, verb: str, /, **said: Any) -> Json:
        """Status and body of WeChat Pay's answer, which the client has verified; a refusal is one too."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        await self.tell({"verb": verb, "said": said})
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await self._process.stdout.readline()
            assert line, f"{verb}: the client ended: {(await self._process.stderr.read()).decode()[-2000:]}"
        answer: Json = json.loads(line)
        return answer

    async def does(self, verb: str, /, **said: Any) -> Any:
        """The body of an answer of success; None: it has none."""
        answer = await self.answer(verb, **said)
        assert answer["status"] == (200 if answer["body"] else 204), (verb, answer)
        return answer["body"]

    async def is_refused(self, verb: str, /, **said: Any) -> tuple[int, str, str]:
        """Status, code and message."""
        answer = await self.answer(verb, **said)
        return answer["status"], answer["body"]["code"], answer["body"]["message"]


@asynccontextmanager
async def a_merchant(words: Sequence[str], keys: Json) -> AsyncIterator[Merchant]:
    """It ends when its input does."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
    )
    merchant = Merchant(process)
    try:
        await merchant.tell(keys)
        yield merchant
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
