"""A sample of the hostile inputs, the same at every run (`make fuzz` plays a million); and that it would notice."""

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given
from hypothesis import strategies as st

from payscore_worker import events, settings
from payscore_worker.events import CLOUD_EVENT, EventIn, TripEnded
from payscore_worker.messaging.publisher import Outgoing
from payscore_worker.settings import PARTS
from payscore_worker.wechatpay.keys import VerificationKeys
from payscore_worker.wechatpay.notifications import Notifications
from payscore_worker.wechatpay.signatures import Proof
from payscore_worker.wechatpay.verification import Verifier
from tests.hostile import messages, variables
from tests.hostile.campaign import GENUINE, KINDS, play, silence
from tests.hostile.gate import Gate, Recorder
from tests.hostile.genuine import APIV3_KEYS

SEED = 20_260_501
INPUTS = {"webhook": 3_000, "events": 4_000, "settings": 700}


@pytest.mark.parametrize("target", INPUTS)
async def test_no_hostile_input_is_published_believed_or_unhandled(target: str) -> None:
    with silence():
        tally = await play(SEED, range(INPUTS[target]), target)

    assert tally.examples == []
    played = {kind for kind, _ in tally.outcomes}
    assert played >= {kind.name for kind in KINDS if kind.target == target}


async def test_genuine_notifications_in_between_are_published() -> None:
    tally = await play(SEED, range(500), "webhook")

    assert tally.of(GENUINE).keys() == {"200"}
    assert tally.of(GENUINE).total() > 0


# --- The control group: a webhook with a bug in it is caught ---


def _believes_every_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Proof, "holds", lambda *_: True)


def _believes_what_comes_unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_doubt(*_: object) -> None:
        return None

    monkeypatch.setattr(Verifier, "doubt", no_doubt)


def _forgets_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Proof, "is_current", lambda *_: True)


def _takes_any_key_for_an_unknown_serial(monkeypatch: pytest.MonkeyPatch) -> None:
    find = VerificationKeys.find

    async def find_any(keys: VerificationKeys, serial: str) -> RSAPublicKey | None:
        return await find(keys, serial) or next(iter(keys._public_keys.values()))

    monkeypatch.setattr(VerificationKeys, "find", find_any)


def _tries_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    doubt = Verifier._doubt

    async def doubt_all(verifier: Verifier, proof: Proof, body: bytes) -> Any:
        doubts = [
            await doubt(verifier, Proof(proof.timestamp, proof.nonce, proof.signature, serial), body)
            for serial in verifier._keys._public_keys
        ]
        return None if None in doubts else doubts[0]

    monkeypatch.setattr(Verifier, "_doubt", doubt_all)


def _verifies_what_it_has_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    holds = Proof.holds

    def holds_anew(proof: Proof, body: bytes, key: RSAPublicKey) -> bool:
        try:
            anew = json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            anew = body
        return holds(proof, anew, key)

    monkeypatch.setattr(Proof, "holds", holds_anew)


def _leaves_the_body_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe any body under headers that were once good."""
    holds, believed = Proof.holds, set[str]()

    def holds_once(proof: Proof, body: bytes, key: RSAPublicKey) -> bool:
        if holds(proof, body, key):
            believed.add(proof.signature)
        return proof.signature in believed

    monkeypatch.setattr(Proof, "holds", holds_once)


def _takes_a_probe_for_its_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    holds = Proof.holds

    def holds_rest(proof: Proof, body: bytes, key: RSAPublicKey) -> bool:
        rest = proof.signature.removeprefix("WECHATPAY/SIGNTEST/")
        return holds(Proof(proof.timestamp, proof.nonce, rest, proof.serial), body, key)

    monkeypatch.setattr(Proof, "holds", holds_rest)


def _publishes_otherwise_than_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    publish = Recorder.publish

    async def publish_more(recorder: Recorder, outgoing: Outgoing) -> None:
        body = outgoing.body.replace(b"total_amount", b"paid_amount")
        await publish(recorder, Outgoing(**{name: getattr(outgoing, name) for name in FIELDS} | {"body": body}))

    monkeypatch.setattr(Recorder, "publish", publish_more)


FIELDS = ("exchange", "routing_key", "body", "message_id", "content_type", "mandatory")


def _publishes_what_it_cannot_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notifications, "_decrypt", lambda *_: b"{}")


def _trips_over_what_it_cannot_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def decrypt(_: Notifications, resource: dict[str, Any]) -> bytes:
        nonce, sealed = resource["nonce"].encode(), b64decode(resource["ciphertext"])
        return AESGCM(APIV3_KEYS[0]).decrypt(nonce, sealed, resource["associated_data"].encode())

    monkeypatch.setattr(Notifications, "_decrypt", decrypt)


def _refuses_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Proof, "holds", lambda *_: False)


BUGS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "believes every signature": (_believes_every_signature, "published"),
    "believes what comes unsigned": (_believes_what_comes_unsigned, "published"),
    "forgets the time": (_forgets_the_time, "published"),
    "takes any key for an unknown serial": (_takes_any_key_for_an_unknown_serial, "published"),
    "tries every key": (_tries_every_key, "published"),
    "verifies what it has written anew": (_verifies_what_it_has_written_anew, "published"),
    "leaves the body out": (_leaves_the_body_out, "published"),
    "takes a probe for its rest": (_takes_a_probe_for_its_rest, "published"),
    "publishes otherwise than signed": (_publishes_otherwise_than_signed, "altered"),
    "publishes what it cannot open": (_publishes_what_it_cannot_open, "altered"),
    "trips over what it cannot open": (_trips_over_what_it_cannot_open, "unhandled"),
    "refuses everything": (_refuses_everything, "refused"),
}


@pytest.mark.parametrize(("put_in", "breach"), BUGS.values(), ids=BUGS)
async def test_a_seeded_bug_is_caught(
    monkeypatch: pytest.MonkeyPatch, put_in: Callable[[pytest.MonkeyPatch], None], breach: str
) -> None:
    put_in(monkeypatch)

    tally = await play(SEED, range(400), "webhook")

    assert breach in tally.broken


def _adds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TripEnded, "read", classmethod(EventIn.read.__func__))  # type: ignore[attr-defined]


def _knows_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventIn, "read", classmethod(lambda kind, data: events._decode(data, kind)))


def _tells_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_name_it", lambda _, complaint: f"{complaint}")


def _tells_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_cause", str)


OTHER_BUGS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None], str]] = {
    "adds nothing up": ("events", _adds_nothing_up, "untrue"),
    "knows every time": ("events", _knows_every_time, "untrue"),
    "tells the value": ("settings", _tells_the_value, "unhandled"),
    "tells the file": ("settings", _tells_the_file, "told"),
}


@pytest.mark.parametrize(("target", "put_in", "breach"), OTHER_BUGS.values(), ids=OTHER_BUGS)
async def test_a_seeded_bug_elsewhere_is_caught(
    monkeypatch: pytest.MonkeyPatch, target: str, put_in: Callable[[pytest.MonkeyPatch], None], breach: str
) -> None:
    put_in(monkeypatch)

    with silence():
        tally = await play(SEED, range(INPUTS[target]), target)

    assert breach in tally.broken


async def test_an_exception_that_escapes_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Gate, "receive", broken)

    assert (await play(SEED, range(3), "webhook")).broken == {"unhandled": 3}


# --- The same laws, by hypothesis, which finds the smallest example ---

texts = st.text(max_size=8) | st.sampled_from(
    ["t1\n", "\0", "x" * 65, "2026-05-01T12:00:00Z", "0001-01-01T00:00:00+08:00"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(
    sample=st.sampled_from(sorted(messages.SAMPLES)),
    changes=st.data(),
    message_id=st.none() | st.text(max_size=20),
    is_cloud=st.booleans(),
)
def test_whatever_an_event_says_it_is_refused_or_true(
    sample: str, changes: st.DataObject, message_id: str | None, *, is_cloud: bool
) -> None:
    good = messages.SAMPLES[sample][1]
    data = good | changes.draw(st.dictionaries(st.sampled_from(sorted(good)), values, max_size=3))
    document = {**messages.ENVELOPE, "type": sample, "data": data}
    if is_cloud:
        document |= changes.draw(st.dictionaries(st.sampled_from(sorted(messages.ENVELOPE)), values, max_size=2))
    message = messages.Message(
        type=sample,
        body=json.dumps(document if is_cloud else data).encode(errors="surrogatepass"),
        content_type=CLOUD_EVENT if is_cloud else None,
        message_id=message_id,
    )

    assert messages.judge(message)[1] == []


environment_texts = st.text(st.characters(exclude_characters="\0"), max_size=40) | st.sampled_from(
    ["5s\n", "9" * 30 + "d", "\udcff", "x - at `$.PAYSCORE_MCHID`", "1\u2028", "http://[", *variables.GOOD.values()]
)


@given(st.dictionaries(st.sampled_from(sorted(variables.GOOD)), environment_texts, max_size=4))
@example({"PAYSCORE_LOG_LEVEL": "x - at `$.PAYSCORE_MCHID`"})
@example({"PAYSCORE_PREFETCH": "\udcff"})
def test_whatever_the_settings_are_a_complaint_is_one_line_that_names_one_and_tells_no_secret(
    changes: dict[str, str],
) -> None:
    desk = variables.Desk()
    try:
        assert desk.judge(variables.Variables({**variables.GOOD, **changes}))[1] == []
    finally:
        desk.close()


@given(st.sampled_from(sorted(variables.SECRETS)), st.text(max_size=300) | st.just("/"))
def test_whatever_a_secrets_file_is_called_its_name_is_not_told(name: str, file: str) -> None:
    others = {other: value for other, value in variables.GOOD.items() if other != name}
    desk = variables.Desk()
    try:
        outcome, broken = desk.judge(variables.Variables({**others, f"{name}_FILE": file + variables.SECRET}))
    finally:
        desk.close()

    assert (outcome, broken) == ("refused", [])


def test_every_variable_is_among_those_that_are_mangled() -> None:
    names = {field.encode_name for part in PARTS for field in msgspec.structs.fields(part)}

    assert names == set(variables.GOOD)


def test_an_env_file_that_is_no_text_is_named() -> None:
    desk = variables.Desk()
    try:
        assert desk.judge(variables.Variables({}, env_file=b"A=\xff\n")) == ("refused", [])
    finally:
        desk.close()
