"""Damages bytes, text and JSON, as chance has it; the same chance does the same damage."""

import json
import string
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

Json = Any

ODD_TEXTS: Final = (
    "",
    " ",
    "\n",
    "\r\n",
    "\0",
    "null",
    "true",
    "-1",
    "1e400",
    "NaN",
    "٣",
    "汉字",
    "🚕",
    "\u202e",
    "\ufeff",
    "İ",
    "é\u0301",
    "' OR 1=1 --",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "%s%n%x",
    "../../etc/passwd",
    "<script>",
    "\x1b[2J",
    " - at `$.PAYSCORE_MCHID`",
    "Object missing required field `x`",
    "x" * 64,
    "x" * 65,
    "x" * 255,
    "x" * 256,
    "长" * 500,
    "长" * 501,
)

ODD_NUMBERS: Final = (
    0,
    -0.0,
    -1,
    1,
    0.5,
    3200.0,
    1e3,
    1e308,
    100_000_000,
    100_000_001,
    2**31,
    2**53,
    2**63,
    2**64,
    -(2**63) - 1,
    10**30,
)

ODD_TIMES: Final = (
    "0001-01-01T00:00:00+08:00",
    "9999-12-31T23:59:59-08:00",
    "1999-12-31T23:59:59Z",
    "2000-01-01T00:00:00+00:00",
    "2026-05-01T12:00:60Z",
    "2026-05-01T24:00:00Z",
    "2026-02-30T12:00:00Z",
    "2026-05-01T12:00:00",
    "2026-05-01T12:00:00+99:99",
    "2026-05-01T12:00:00.9999999999Z",
    "2026-05-01 12:00:00Z",
    "20260501120000",
    "1777777777",
    "-2026-05-01T12:00:00Z",
)

MAX_DEPTH: Final = 20_000


def flipped(chance: Random, data: bytes) -> bytes:
    """Turn one to four bits over."""
    damaged = bytearray(data or b"\0")
    for _ in range(chance.randint(1, 4)):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def cut(chance: Random, data: bytes) -> bytes:
    """Leave the end away, or the beginning, or something between."""
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return chance.choice([data[:first], data[last:], data[:first] + data[last:]])


def grown(chance: Random, data: bytes) -> bytes:
    """Put something in, or a piece of it twice."""
    at = chance.randrange(len(data) + 1)
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    more = chance.choice(
        [data[first:last], noise(chance, 16), b"\0", b" ", b"\n", b'"', b"{", b"\xff", b"\xef\xbb\xbf"]
    )
    return data[:at] + more + data[at:]


def noise(chance: Random, most: int) -> bytes:
    return chance.randbytes(chance.randrange(most))


def damaged(chance: Random, data: bytes) -> bytes:
    """Damage some bytes, in any of these ways; they differ afterwards."""
    damage: Callable[[Random, bytes], bytes] = chance.choice([flipped, cut, grown])
    result = damage(chance, data)
    return result if result != data else data + b"!"


def an_odd_text(chance: Random) -> str:
    if chance.random() < 0.7:
        return chance.choice(ODD_TEXTS)
    return "".join(chance.choices(string.printable + "长\u00a0\u2028\x85\x7f", k=chance.randrange(40)))


def an_odd_value(chance: Random, depth: int = 3) -> Json:
    """Make any JSON value, preferably a strange one."""
    match chance.randrange(8 if depth else 5):
        case 0:
            return chance.choice([None, True, False])
        case 1:
            return chance.choice(ODD_NUMBERS)
        case 2 | 3:
            return an_odd_text(chance)
        case 4:
            return chance.choice(ODD_TIMES)
        case 5 | 6:
            return [an_odd_value(chance, depth - 1) for _ in range(chance.randrange(4))]
        case _:
            return {an_odd_text(chance): an_odd_value(chance, depth - 1) for _ in range(chance.randrange(4))}


def mangled(chance: Random, value: Json) -> Json:
    """Change one to three places of a JSON value: drop, replace, exchange, repeat, rename."""
    value = json.loads(json.dumps(value))
    for _ in range(chance.randint(1, 3)):
        value = _mangled_once(chance, value)
    return value


def _mangled_once(chance: Random, value: Json) -> Json:
    places = list(_places(value))
    if not places or chance.random() < 0.02:
        return an_odd_value(chance)
    holder, key = chance.choice(places)
    other, elsewhere = chance.choice(places)
    match chance.randrange(6):
        case 0:
            del holder[key]
        case 1 | 2:
            holder[key] = an_odd_value(chance)
        case 3:
            holder[key] = json.loads(json.dumps(other[elsewhere]))
        case 4:
            holder[key] = _nudged(chance, holder[key])
        case _ if isinstance(holder, dict):
            holder[an_odd_text(chance)] = holder.pop(key)
        case _:
            holder.extend(holder[:] * chance.choice([1, 1, 2, 60]))
    return value


def _nudged(chance: Random, value: Json) -> Json:
    """Change a value by a little: what is almost right is what slips through."""
    match value:
        case bool():
            return not value
        case int():
            return value + chance.choice([-1, 1, 100, -100]) if chance.random() < 0.7 else float(value)
        case str():
            return chance.choice([value + chance.choice(ODD_TEXTS), value[:-1], value.upper(), f" {value}"])
        case _:
            return [value]


def _places(value: Json) -> Sequence[tuple[Any, Any]]:
    """List everywhere that something stands: the object or list that holds it, and its key there."""
    held: list[tuple[Any, Any]] = []
    match value:
        case dict():
            for key, item in value.items():
                held += [(value, key), *_places(item)]
        case list():
            for index, item in enumerate(value):
                held += [(value, index), *_places(item)]
    return held


def said_anew(chance: Random, body: bytes) -> bytes:
    """Write a JSON document otherwise, as frameworks do that parse a body and write it again (payscore-api H-12)."""
    value = json.loads(body)
    match chance.randrange(6):
        case 0:
            text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
        case 1:
            text = json.dumps(value, indent=chance.randrange(5), ensure_ascii=False)
        case 2:
            text = json.dumps(_shuffled(chance, value), separators=(",", ":"), ensure_ascii=False)
        case 3:
            text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=chance.random() < 0.5)
        case 4:
            text = chance.choice([" ", "\n", "\t"]) * chance.randint(1, 3) + body.decode() + chance.choice(["", "\n"])
        case _:
            text = body.decode().replace("/", "\\/") + " " * chance.randrange(3)
    return text.encode()


def _shuffled(chance: Random, value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    members = list(value.items())
    chance.shuffle(members)
    return {name: _shuffled(chance, member) for name, member in members}


def written(chance: Random, value: Json) -> bytes:
    """Write JSON, now and then with what Python's writer permits and the standard does not."""
    text = json.dumps(value, ensure_ascii=chance.random() < 0.3)
    if chance.random() < 0.1:
        text = text.replace('"', chance.choice(["'", '\\"', '"\\ud800']), chance.randint(1, 2))
    return text.encode(errors="surrogatepass")


def no_json(chance: Random) -> bytes:
    """Make what is no document: noise, brackets without end, another format."""
    match chance.randrange(6):
        case 0:
            return noise(chance, 300)
        case 1:
            return chance.choice([b"[", b'{"a":', b'{"a":[', b"[[[[{"]) * chance.randrange(1, MAX_DEPTH)
        case 2:
            depth = chance.randrange(1, MAX_DEPTH)
            return b"[" * depth + b"]" * depth
        case 3:
            return chance.choice(
                [b"<xml><return_code>SUCCESS</return_code></xml>", b"a=b&c=d", b"null", b"0", b'""', b""]
            )
        case 4:
            return '{"id":"汉"}'.encode(chance.choice(["gb18030", "utf-16", "utf-32", "utf-8-sig"]))
        case _:
            return b'{"n":' + b"9" * chance.randrange(1, 6000) + b"}"
