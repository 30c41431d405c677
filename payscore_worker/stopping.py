"""SIGTERM, SIGINT and SIGHUP, from the first line of a process to its last.

PID 1 of a container has no default action: a signal that comes before its handler is discarded, and the container waits
out its grace. So this is set up before anything is imported that takes its time, and imports nothing such itself.
"""

import faulthandler
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

ROLES: Final = frozenset({"worker", "webhook", "console", "simulator", "load"})
"""Commands without an end of their own: one that is told to stop while it starts has nothing left undone."""

WITH_PARENT: Final = "--end-with-stdin"
"""Before the command: end, at once, when standard input does; it is a pipe whose other end our parent holds."""

AGAIN_SECONDS: Final = 0.5
"""timeout(1) and the like tell a process twice in the same moment; a person who asks again is slower."""

FAILED: Final = 128
"""What a shell adds to the number of the signal that ended a command."""


class _State:
    """What this process has been told, and what it does about it."""

    is_role = False
    told: signal.Signals | None = None
    told_at = 0.0
    react: Callable[[], None] | None = None
    within_seconds: float | None = None


_state: Final = _State()


def heed(words: Sequence[str] = ()) -> None:
    """Take signals from now on; `words` are those behind the name of the program.

    Until `on_first` or `reacting` says otherwise nothing is in hand, and the process ends at once: with 0 where it is a
    role, else, since the command has not done what it should, as a shell tells of the signal. What whoever started us
    has us ignore (nohup, a job in the background) stays ignored.
    """
    _state.is_role = next((word for word in words if not word.startswith("-")), None) in ROLES
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _told)
    if words[:1] == [WITH_PARENT]:
        _end_with_stdin()


def on_first(react: Callable[[], None], *, within_seconds: float | None) -> None:
    """Have the first signal do this, in the main thread between any two steps of it; the second ends the process.

    `within_seconds` after the first it ends in any case, with the stacks of all threads on standard error; None: when
    it has done what it does. Where nobody called `heed`, signals are somebody else's, and none comes here.
    """
    _state.react, _state.within_seconds = react, within_seconds


@contextmanager
def reacting(react: Callable[[], None], *, within_seconds: float | None) -> Iterator[None]:
    """Have the first signal do this while the block runs."""
    on_first(react, within_seconds=within_seconds)
    try:
        yield
    finally:
        _state.react = None


def told() -> signal.Signals | None:
    """Which signal has come first; None while none has."""
    return _state.told


def code_of(number: signal.Signals) -> int:
    """Give the exit code of a command that a signal has ended before it was done."""
    return FAILED + number


def _told(number: int, _frame: FrameType | None) -> None:
    if _state.told is None:
        _state.told, _state.told_at = signal.Signals(number), time.monotonic()
        _first(_state.told)
    elif time.monotonic() - _state.told_at > AGAIN_SECONDS:
        os._exit(code_of(signal.Signals(number)))  # as a crash would: whatever is in hand comes again


def _first(number: signal.Signals) -> None:
    if _state.react is None:
        os._exit(0 if _state.is_role else code_of(number))
    if _state.within_seconds is not None:
        faulthandler.dump_traceback_later(_state.within_seconds, exit=True)
    _state.react()


def _end_with_stdin() -> None:
    import threading  # noqa: PLC0415 - only the processes of a demo need it

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(FAILED + signal.SIGHUP)  # nobody is left to finish anything for

    threading.Thread(target=watch, name="parent", daemon=True).start()
