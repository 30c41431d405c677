"""Who may use the console: a token, a signed session, a word in every form against forged ones, a limit on guesses."""

import hashlib
import hmac
import ipaddress
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import msgspec

SESSION_LASTS: Final = timedelta(hours=12)
"""A shift; whoever comes after signs in under their own name."""

MAX_NAME: Final = 40
MAX_COOKIE: Final = 1024

SPAN: Final = timedelta(minutes=1)
GUESSES_OF_ONE: Final = 5
"""Wrong tokens from one address within the span; more than a slip of the hand."""
GUESSES_OF_ALL: Final = 60
"""From all addresses together: guessing from many places is guessing too."""
ADDRESSES_KEPT: Final = 1_000
MAX_ADDRESS: Final = 64
"""An address of ours is shorter; a proxy may pass on whatever a client calls itself."""

LOCAL: Final = "local"
"""The name of whoever uses a console without a token: it is on this machine."""


class Session(msgspec.Struct, frozen=True):
    """Somebody who signed in; the browser keeps it, and our signature says that it is ours."""

    id: str
    name: str
    until: datetime


def is_loopback(host: str) -> bool:
    """Tell whether an address, or a name, is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Guesses:
    """When wrong tokens came lately."""

    times: deque[datetime]

    def within(self, now: datetime) -> int:
        """Count those of the last span, and forget the others."""
        while self.times and now - self.times[0] > SPAN:
            self.times.popleft()
        return len(self.times)


class Access:
    """Signs people in, and knows them again."""

    def __init__(self, token: str | None, *, clock: Callable[[], datetime]) -> None:
        self._token = token
        self._clock = clock
        # Made from the token, so that a session holds in every worker, outlives a restart, and ends with the token.
        root = secrets.token_bytes(32) if token is None else token.encode()
        self._key = hmac.digest(root, b"payscore-worker console", hashlib.sha256)
        self._guesses: OrderedDict[str, Guesses] = OrderedDict()
        self._all_guesses = Guesses(deque(maxlen=GUESSES_OF_ALL))

    @property
    def needs_token(self) -> bool:
        """Whether people have to sign in."""
        return self._token is not None

    def is_right(self, token: str) -> bool:
        """Compare a token in a time that tells nothing of it."""
        return self._token is not None and hmac.compare_digest(token.encode(), self._token.encode())

    def may_guess(self, address: str) -> bool:
        """Tell whether an address may try a token now."""
        now = self._clock()
        mine = self._guesses.get(address)
        tried = 0 if mine is None else mine.within(now)
        return tried < GUESSES_OF_ONE and self._all_guesses.within(now) < GUESSES_OF_ALL

    def note_guess(self, address: str) -> None:
        """Note a wrong token."""
        now = self._clock()
        mine = self._guesses.setdefault(address, Guesses(deque(maxlen=GUESSES_OF_ONE)))
        mine.times.append(now)
        self._guesses.move_to_end(address)
        self._all_guesses.times.append(now)
        while len(self._guesses) > ADDRESSES_KEPT:
            self._guesses.popitem(last=False)

    def open_session(self, name: str) -> Session:
        """Begin a session."""
        return Session(id=secrets.token_urlsafe(16), name=name[:MAX_NAME], until=self._clock() + SESSION_LASTS)

    def seal(self, session: Session) -> str:
        """Write a session as a cookie."""
        payload = urlsafe_b64encode(msgspec.json.encode(session)).decode().rstrip("=")  # which a cookie would quote
        return f"{payload}.{self._sign('session', payload)}"

    def unseal(self, cookie: str) -> Session | None:
        """Read a session from a cookie; None where it is not ours, or over."""
        payload, _, signature = cookie.partition(".")
        if len(cookie) > MAX_COOKIE or not _same(signature, self._sign("session", payload)):
            return None
        session = msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Session)
        return session if session.until > self._clock() else None

    def form_word(self, session: Session) -> str:
        """Make the word that every form of a session carries: another site cannot know it."""
        return self._sign("form", session.id)

    def is_form_word(self, word: str, session: Session) -> bool:
        """Tell whether a form comes from a page of ours."""
        return _same(word, self.form_word(session))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()


def is_same_origin(*, origin: str | None, fetch_site: str | None, host: str) -> bool:
    """Tell whether a form was sent from a page of this very host; a browser says so in one header or the other."""
    if origin is None:
        return fetch_site == "same-origin"
    try:
        return origin != "null" and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def host_of(header: str) -> str:
    """Take the port off a Host header; empty where it names no host."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
