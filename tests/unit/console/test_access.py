"""Who may use the console: what a session is worth, who may guess, where a form may come from."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from payscore_worker.console.access import (
    ADDRESSES_KEPT,
    GUESSES_OF_ALL,
    GUESSES_OF_ONE,
    SESSION_LASTS,
    SPAN,
    Access,
    Session,
    host_of,
    is_loopback,
    is_same_origin,
)

TOKEN: Final = "correct-horse-battery"
HOST: Final = "ops.example:9180"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(clock: Clock) -> Access:
    return Access(TOKEN, clock=clock)


def test_only_the_token_is_right(access: Access) -> None:
    assert access.is_right(TOKEN)
    for wrong in ("", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), "令牌"):
        assert not access.is_right(wrong)


def test_without_a_token_none_is_right(clock: Clock) -> None:
    assert not Access(None, clock=clock).is_right("")


def test_a_session_comes_back_as_it_was(access: Access) -> None:
    session = access.open_session("王芳")

    assert access.unseal(access.seal(session)) == session


def test_a_session_holds_in_every_worker_with_the_same_token(access: Access, clock: Clock) -> None:
    sealed = access.seal(access.open_session("wang"))

    assert Access(TOKEN, clock=clock).unseal(sealed) is not None
    assert Access(f"{TOKEN}-new", clock=clock).unseal(sealed) is None


def test_a_session_that_somebody_changed_is_none(access: Access) -> None:
    sealed = access.seal(access.open_session("wang"))
    payload, _, signature = sealed.partition(".")

    for forged in ("", ".", payload, f"{payload}.", f"{payload}.{signature[:-1]}0x", f"A{payload}.{signature}"):
        assert access.unseal(forged) is None


def test_a_session_ends(access: Access, clock: Clock) -> None:
    sealed = access.seal(access.open_session("wang"))

    clock.now += SESSION_LASTS - timedelta(seconds=1)
    assert access.unseal(sealed) is not None
    clock.now += timedelta(seconds=1)
    assert access.unseal(sealed) is None


def test_the_word_of_a_form_belongs_to_one_session(access: Access) -> None:
    mine, other = access.open_session("wang"), access.open_session("wang")

    assert access.is_form_word(access.form_word(mine), mine)
    assert not access.is_form_word(access.form_word(other), mine)
    assert not access.is_form_word("", mine)
    assert not access.is_form_word("词", mine)


def test_the_word_of_a_form_is_no_session(access: Access) -> None:
    """A form shows its word to whoever sees the page; it must not pass for the signature of a session."""
    session = access.open_session("wang")
    payload = access.seal(session).partition(".")[0]
    twin = Session(id=payload, name="wang", until=session.until)

    assert access.unseal(f"{payload}.{access.form_word(twin)}") is None


def test_wrong_tokens_from_one_address_are_limited_for_a_while(access: Access, clock: Clock) -> None:
    for _ in range(GUESSES_OF_ONE):
        assert access.may_guess("10.0.0.1")
        access.note_guess("10.0.0.1")

    assert not access.may_guess("10.0.0.1")
    assert access.may_guess("10.0.0.2")
    clock.now += SPAN + timedelta(seconds=1)
    assert access.may_guess("10.0.0.1")


def test_wrong_tokens_from_many_addresses_are_limited_too(access: Access) -> None:
    for number in range(GUESSES_OF_ALL):
        access.note_guess(f"10.0.{number}.1")

    assert not access.may_guess("10.1.1.1")


def test_however_many_guess_not_all_are_remembered(access: Access) -> None:
    for number in range(ADDRESSES_KEPT + 10):
        access.note_guess(f"10.{number // 256}.{number % 256}.1")

    assert len(access._guesses) == ADDRESSES_KEPT


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "127.0.0.1.evil.example"])  # noqa: S104 - not listened on
def test_anything_else_is_not(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("origin", "fetch_site", "ours"),
    [
        (f"https://{HOST}", None, True),
        (f"http://{HOST}", "same-origin", True),
        (None, "same-origin", True),
        (None, None, False),
        (None, "same-site", False),
        (None, "cross-site", False),
        ("null", "same-origin", False),
        ("https://evil.example", None, False),
        ("https://ops.example", None, False),
        (f"https://{HOST}.evil.example", "cross-site", False),
    ],
)
def test_a_form_comes_from_a_page_of_this_host(origin: str | None, fetch_site: str | None, ours: bool) -> None:  # noqa: FBT001 - a column of the table
    assert is_same_origin(origin=origin, fetch_site=fetch_site, host=HOST) is ours


def test_a_host_is_told_without_its_port() -> None:
    assert [host_of(header) for header in ("a:1", "A", "[::1]:80", "")] == ["a", "a", "::1", ""]
