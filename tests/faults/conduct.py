"""How a network can misbehave: what a proxy does to the connections that pass through it."""

import asyncio
import random
from weakref import WeakKeyDictionary, WeakSet

from tests.proxy import Conduct, Connection, Cut


class _Fuse:
    """Burns in each connection after some more exchanges: how many is chance, so that every kind of exchange is hit."""

    def __init__(self, chance: random.Random, most: int) -> None:
        self._chance = chance
        self._most = most
        self._ends: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()

    def has_burnt(self, connection: Connection) -> bool:
        ends = self._ends.get(connection)
        if ends is None:
            ends = self._ends[connection] = connection.asked + self._chance.randrange(self._most)
        return connection.asked >= ends


class CutBefore(Conduct):
    """Ends the connection instead of handing on a request."""

    def __init__(self, chance: random.Random, most: int) -> None:
        self._fuse = _Fuse(chance, most)

    async def asked(self, connection: Connection, data: bytes) -> bytes:
        if self._fuse.has_burnt(connection):
            raise Cut
        return data


class CutAfter(Conduct):
    """Hands on a request, waits until the server answers it, and ends the connection instead of handing that on."""

    def __init__(self, chance: random.Random, most: int) -> None:
        self._fuse = _Fuse(chance, most)
        self._doomed: WeakSet[Connection] = WeakSet()

    async def asked(self, connection: Connection, data: bytes) -> bytes:
        if self._fuse.has_burnt(connection):
            self._doomed.add(connection)
        return data

    async def answered(self, connection: Connection, data: bytes) -> bytes:
        if connection in self._doomed:
            raise Cut
        return data


class CutMidReply(Conduct):
    """Ends the connection after the first half of an answer."""

    def __init__(self, chance: random.Random, most: int) -> None:
        self._fuse = _Fuse(chance, most)

    async def asked(self, connection: Connection, data: bytes) -> bytes:
        self._fuse.has_burnt(connection)  # lit by the first request
        return data

    async def answered(self, connection: Connection, data: bytes) -> bytes:
        if self._fuse.has_burnt(connection):
            raise Cut(data[: len(data) // 2])
        return data


class Reset(Conduct):
    """Resets whoever comes."""

    async def met(self, _connection: Connection) -> None:
        raise Cut(reset=True)


class Slow(Conduct):
    """Delays everything, in both directions."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def asked(self, _connection: Connection, data: bytes) -> bytes:
        await asyncio.sleep(self._seconds)
        return data

    async def answered(self, _connection: Connection, data: bytes) -> bytes:
        await asyncio.sleep(self._seconds)
        return data
