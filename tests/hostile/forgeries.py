"""Calls that are not WeChat Pay's, or are and cannot be read: each kind makes as many as are asked for."""

import json
import string
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from payscore_worker.webhook import MAX_BODY_BYTES
from tests.hostile import mangling
from tests.hostile.gate import Call
from tests.hostile.genuine import (
    APIV3_KEYS,
    NOW,
    SIGNED_HEADERS,
    Headers,
    Signed,
    a_resource,
    an_envelope,
    answers,
    as_headers,
    compact,
    notifications,
    out_of_time,
    signed,
)
from tests.unit.wechatpay import vectors
from tests.unit.wechatpay.wechat import PUBLIC_KEY_ID, a_key, merchant_key, signature_headers

TIMESTAMP, NONCE, SERIAL, SIGNATURE = range(4)
STRANGERS: Final = 4
"""How many keys forgers have."""

PROBE: Final = b"WECHATPAY/SIGNTEST/"
BASE64: Final = string.ascii_letters + string.digits + "+/"

Maker = Callable[[Random], Call]


def genuine(chance: Random) -> Call:
    """Let a genuine notification through, in between: a webhook that refuses everything would pass all else."""
    one = _one(chance)
    headers = [(_any_case(chance, name), value) for name, value in one.headers]
    chance.shuffle(headers)
    return Call(
        headers=[*headers, (b"request-id", mangling.noise(chance, 20).hex().encode())], body=one.body, must_pass=True
    )


def tampered_body(chance: Random) -> Call:
    """Change bytes of the body."""
    one = _one(chance)
    return Call(headers=one.headers, body=mangling.damaged(chance, one.body))


def tampered_headers(chance: Random) -> Call:
    """Change bytes of one of the four headers."""
    one, which = _one(chance), chance.randrange(4)
    value = mangling.damaged(chance, one.headers[which][1])
    return Call(headers=_with(one.headers, which, _sendable(value)), body=one.body)


def respelled_signature(chance: Random) -> Call:
    """Write the same signature otherwise: base64 has more spellings than meanings."""
    one = _one(chance)
    signature = one.headers[SIGNATURE][1]
    last = chance.choice([letter for letter in BASE64.encode() if letter != signature[-3]])
    spelled = chance.choice(
        [
            signature[:-3] + bytes([last]) + b"==",
            signature.rstrip(b"="),
            signature + b"=",
            signature + b" ",
            b" " + signature,
            signature.replace(b"+", b"-").replace(b"/", b"_") + b"-",
            signature[:76] + b"\t" + signature[76:],
            b64decode(signature).hex().encode(),
            b64encode(signature),
        ]
    )
    return Call(headers=_with(one.headers, SIGNATURE, spelled), body=one.body)


def probe(chance: Random) -> Call:
    """Send what WeChat Pay sends to see whether we look (reference payscore-api D.7)."""
    one = _one(chance)
    signature = one.headers[SIGNATURE][1]
    wrong = chance.choice([signature, mangling.damaged(chance, signature), _random_signature(chance)])
    return Call(headers=_with(one.headers, SIGNATURE, _sendable(PROBE + wrong)), body=one.body)


def swapped(chance: Random) -> Call:
    """Put the headers of one notification before the body of another, or each header in another's place."""
    one, other = chance.sample(notifications(), 2)
    match chance.randrange(4):
        case 0:
            return Call(headers=one.headers, body=other.body)
        case 1:
            which = chance.choice([NONCE, SIGNATURE, TIMESTAMP, SERIAL])
            return Call(headers=_with(one.headers, which, other.headers[which][1]), body=one.body)
        case 2:
            values = [value for _, value in one.headers]
            chance.shuffle(values)
            return Call(headers=tuple(zip(SIGNED_HEADERS, values, strict=True)), body=one.body)
        case _:
            return Call(headers=one.headers, body=_spliced(chance, one.body, other.body))


def missing(chance: Random) -> Call:
    """Leave headers away, empty them, or send them under other names."""
    one = _one(chance)
    kept = [(name, value) for name, value in one.headers if chance.random() < 0.5][:3]
    emptied = _with(one.headers, chance.randrange(4), b"")
    renamed = [(name.replace(b"wechatpay-", b"x-wechatpay-"), value) for name, value in one.headers]
    return Call(headers=chance.choice([kept, emptied, renamed]), body=one.body)


def doubled(chance: Random) -> Call:
    """Send headers twice, with different values, before the body of neither or one of them."""
    one, other = chance.sample(notifications(), 2)
    which = chance.randrange(4)
    twice = [
        *one.headers,
        (_any_case(chance, SIGNED_HEADERS[which]), chance.choice([b"", b"0", other.headers[which][1]])),
    ]
    chance.shuffle(twice)
    return Call(headers=twice, body=chance.choice([one.body, other.body, mangling.damaged(chance, one.body)]))


def stale(chance: Random) -> Call:
    """Replay what was signed another day, as it was or with a timestamp of today."""
    one = chance.choice(out_of_time())
    today = str(int(NOW.timestamp()) + chance.randint(-299, 299)).encode()
    headers = one.headers if chance.random() < 0.6 else _with(one.headers, TIMESTAMP, today)
    return Call(headers=headers, body=one.body)


def retimed(chance: Random) -> Call:
    """Put another time, or none, on a good notification."""
    one = _one(chance)
    seconds = int(one.headers[TIMESTAMP][1])
    stamp = chance.choice(
        [
            str(seconds + chance.choice([-1, 1, chance.randint(-400, 400)])),
            f"{seconds}000",
            f"0{seconds}",
            f"+{seconds}",
            f"{seconds}.0",
            f" {seconds}",
            f"{seconds:_}",
            f"{seconds:x}",
            "9" * chance.randrange(1, 6000),
            f"-{seconds}",
            NOW.isoformat(),
        ]
    )
    if stamp.encode() == one.headers[TIMESTAMP][1]:
        stamp += "1"
    return Call(headers=_with(one.headers, TIMESTAMP, stamp.encode()), body=one.body)


def unknown_serial(chance: Random) -> Call:
    """Name a key that we do not have; the signature may be WeChat Pay's all the same."""
    one = _one(chance)
    serial = chance.choice(
        [
            b"0000",
            b"PUB_KEY_ID_9999",
            PUBLIC_KEY_ID.lower().encode(),
            vectors.CERTIFICATE_SERIAL.lower().encode() + b"0",
            b"0" + one.headers[SERIAL][1],
            mangling.noise(chance, 30).hex().encode(),
            b"../" + one.headers[SERIAL][1],
            b"x" * 5000,
        ]
    )
    return Call(headers=_with(one.headers, SERIAL, serial), body=one.body)


def another_key(chance: Random) -> Call:
    """Sign an invention with a key of one's own, under WeChat Pay's serial or another."""
    body = compact(
        mangling.mangled(chance, an_envelope(a_resource(1), 1)) if chance.random() < 0.5 else _invented(chance)
    )
    serial = chance.choice([vectors.CERTIFICATE_SERIAL, PUBLIC_KEY_ID, "4711"])
    return Call(headers=as_headers(signature_headers(body, at=NOW, serial=serial, key=_stranger(chance))), body=body)


def wrong_owner(chance: Random) -> Call:
    """Sign with one of WeChat Pay's keys, and name the other."""
    one = _one(chance)
    serials = [vectors.CERTIFICATE_SERIAL.encode(), PUBLIC_KEY_ID.encode()]
    other = next(serial for serial in serials if serial != one.headers[SERIAL][1])
    return Call(headers=_with(one.headers, SERIAL, other), body=one.body)


def random_signature(chance: Random) -> Call:
    """Guess a signature, or give numbers that RSA treats in a special way."""
    one = _one(chance)
    body = one.body if chance.random() < 0.5 else compact(_invented(chance))
    return Call(headers=_with(one.headers, SIGNATURE, _random_signature(chance)), body=body)


def said_anew(chance: Random) -> Call:
    """Write the same JSON otherwise: it says the same, and is not what was signed."""
    one = _one(chance)
    body = mangling.said_anew(chance, one.body)
    return Call(headers=one.headers, body=body if body != one.body else body + b" ")


def resealed(chance: Random) -> Call:
    """Say something else under the right APIv3 key, and keep the signature of the original."""
    one = _one(chance)
    paid = mangling.mangled(chance, json.loads(vectors.USER_PAID_RESOURCE))
    envelope = an_envelope(compact(paid), chance.randrange(10**6), apiv3_key=chance.choice(APIV3_KEYS))
    return Call(headers=one.headers, body=compact(envelope))


def no_document(chance: Random) -> Call:
    """Send what is no JSON at all."""
    headers = _one(chance).headers if chance.random() < 0.5 else _noisy_headers(chance)
    return Call(headers=headers, body=mangling.no_json(chance))


def noise(chance: Random) -> Call:
    """Send noise under noise."""
    return Call(headers=_noisy_headers(chance), body=mangling.noise(chance, 2000))


def oversized(chance: Random) -> Call:
    """Send more than the cap, or just as much."""
    one = _one(chance)
    size = chance.choice([MAX_BODY_BYTES - 1, MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 2 * MAX_BODY_BYTES])
    return Call(headers=one.headers, body=one.body + b" " * (size - len(one.body)))


def replayed_answer(chance: Random) -> Call:
    """Send back what WeChat Pay once answered: well signed, and no notification."""
    one = chance.choice(answers())
    return Call(headers=one.headers, body=one.body, is_signed=True)


def wrong_apiv3_key(chance: Random) -> Call:
    """Be signed by WeChat Pay, and sealed for another merchant."""
    key = chance.randbytes(16).hex().encode()
    return _signed(chance, compact(an_envelope(a_resource(1), chance.randrange(10**6), apiv3_key=key)))


def signed_nonsense(chance: Random) -> Call:
    """Be signed by WeChat Pay, and not of the documented form."""
    envelope = mangling.mangled(chance, an_envelope(a_resource(1), chance.randrange(10**6)))
    return _signed(chance, mangling.written(chance, envelope) if chance.random() < 0.9 else mangling.no_json(chance))


def signed_resource_nonsense(chance: Random) -> Call:
    """Be signed and sealed by WeChat Pay, and say inside what nobody can read."""
    content = chance.choice([mangling.no_json(chance), mangling.written(chance, mangling.an_odd_value(chance))])
    return _signed(chance, compact(an_envelope(content[: MAX_BODY_BYTES // 2], chance.randrange(10**6))))


MAKERS: Final[Mapping[str, tuple[Maker, int]]] = {
    "genuine": (genuine, 2),
    "tampered body": (tampered_body, 14),
    "tampered headers": (tampered_headers, 14),
    "signature spelt otherwise": (respelled_signature, 6),
    "probe": (probe, 6),
    "swapped": (swapped, 8),
    "headers missing": (missing, 6),
    "headers doubled": (doubled, 6),
    "signed another day": (stale, 6),
    "another time": (retimed, 6),
    "unknown serial": (unknown_serial, 6),
    "a stranger's key": (another_key, 3),
    "WeChat Pay's other key": (wrong_owner, 1),
    "guessed signature": (random_signature, 6),
    "said anew": (said_anew, 8),
    "sealed anew": (resealed, 8),
    "no document": (no_document, 6),
    "noise": (noise, 6),
    "oversized": (oversized, 1),
    "replayed answer": (replayed_answer, 2),
    "sealed for another merchant": (wrong_apiv3_key, 1),
    "signed nonsense": (signed_nonsense, 3),
    "signed nonsense inside": (signed_resource_nonsense, 1),
}
"""Each kind, and its share."""


def _one(chance: Random) -> Signed:
    return chance.choice(notifications())


def _signed(chance: Random, body: bytes) -> Call:
    one = signed(body, with_public_key=chance.random() < 0.5)
    return Call(headers=one.headers, body=body, is_signed=True)


def _with(headers: Headers, which: int, value: bytes) -> Headers:
    return (*headers[:which], (headers[which][0], value), *headers[which + 1 :])


def _sendable(value: bytes) -> bytes:
    """Leave out what no HTTP parser lets through in a header."""
    return value.translate(None, b"\r\n\0")


def _any_case(chance: Random, name: bytes) -> bytes:
    return chance.choice([name, name.title(), name.upper()])


def _spliced(chance: Random, one: bytes, other: bytes) -> bytes:
    at = chance.randrange(1, min(len(one), len(other)))
    return one[:at] + other[at:]


def _noisy_headers(chance: Random) -> Headers:
    return tuple((name, _sendable(mangling.noise(chance, 60))) for name in SIGNED_HEADERS)


def _random_signature(chance: Random) -> bytes:
    modulus = merchant_key().public_key().public_numbers().n
    number = chance.choice([0, 1, modulus - 1, modulus, modulus + 1, chance.randrange(modulus), 1 << 2047])
    size = chance.choice([256, 256, 256, 255, 257, 128, 512, 0])
    return b64encode((number % (1 << (8 * size))).to_bytes(size, "big"))


def _invented(chance: Random) -> dict[str, object]:
    return an_envelope(a_resource(chance.randrange(10**6)), chance.randrange(10**6))


def _stranger(chance: Random) -> RSAPrivateKey:
    return a_key(f"stranger {chance.randrange(STRANGERS)}")
