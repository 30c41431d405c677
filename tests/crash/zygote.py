"""A process that has imported everything and forks a role whenever it is asked: a restart costs a tenth of a start.

It reads one JSON request a line (`Start`), and writes one a line of what happened: `{"id", "pid"}` when the role is
forked, `{"id", "status"}` when it is gone. It runs no event loop and no thread, so that a fork takes nothing along;
when nobody asks any more, it ends every role it started, and itself.
"""

import ctypes
import gc
import logging
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Coroutine
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
import uvloop

from payscore_worker import logs, stopping
from payscore_worker.bootstrap.simulator import run_simulator
from payscore_worker.bootstrap.webhook import run_webhook
from payscore_worker.bootstrap.worker import run_worker
from payscore_worker.settings import Environment
from payscore_worker.simulator import Service, SimulatorConfig, SimulatorKeys
from tests.crash import impatience, seams
from tests.crash.bugs import BUGS
from tests.crash.points import points

PARENT_DEATH_SIGNAL: Final = 1
"""prctl(PR_SET_PDEATHSIG): end with the parent, however it ends."""

READ_BYTES: Final = 1 << 16

IMPORTED_LATE: Final = (
    "payscore_worker.console.app",
    "payscore_worker.ops.database",
    "payscore_worker.storage.engine",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
)
"""What a worker imports once it runs; without it here, every life of a worker would pay for it again."""


class Start(msgspec.Struct, kw_only=True):
    """A role to be forked."""

    id: int
    role: str
    """`worker`, `webhook` or `simulator`."""
    variables: dict[str, str]
    log: str
    plan: str = ""
    trace: str = ""
    bug: str = ""
    simulator: dict[str, Any] = {}
    """Port, keys and address of each merchant, the service whose orders are confirmed, members of SimulatorConfig."""


def main() -> None:
    for module in IMPORTED_LATE:
        import_module(module)
    impatience.install()
    seams.install()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks us
    Zygote().serve()


class Zygote:
    """Forks, and tells of deaths."""

    def __init__(self) -> None:
        self._running: dict[int, int] = {}
        self._died, self._dying = os.pipe()
        os.set_blocking(self._dying, False)
        signal.set_wakeup_fd(self._dying, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def serve(self) -> None:
        unread = b""
        with selectors.DefaultSelector() as selector:
            selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
            selector.register(self._died, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if self._died in ready:
                    os.read(self._died, READ_BYTES)
                    self._bury()
                if sys.stdin.fileno() in ready:
                    received = os.read(sys.stdin.fileno(), READ_BYTES)
                    if not received:
                        return self._end()
                    *lines, unread = (unread + received).split(b"\n")
                    for line in lines:
                        self._fork(msgspec.json.decode(line, type=Start))

    def _fork(self, start: Start) -> None:
        impatience.warm_up(start.variables)
        pid = os.fork()
        if pid == 0:
            _live(start)
        self._running[pid] = start.id
        _tell({"id": start.id, "pid": pid})

    def _bury(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            _tell({"id": self._running.pop(pid), "status": os.waitstatus_to_exitcode(status)})

    def _end(self) -> None:
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)


def _tell(what: dict[str, int]) -> None:
    os.write(sys.stdout.fileno(), msgspec.json.encode(what) + b"\n")


# --- In the child ---


def _live(start: Start) -> NoReturn:
    """Be the role, and never return into the zygote."""
    status = 1
    try:
        _settle_in(start)
        uvloop.run(_role(start))
        status = 0
    except BaseException:  # noqa: BLE001 - this process has nothing above it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _settle_in(start: Start) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(start.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    stopping.heed([start.role])
    logs.set_up(as_json=True, level=logging.INFO)
    if start.plan:
        points.enter(start.role, plan=Path(start.plan), trace=Path(start.trace))
    if start.bug:
        BUGS[start.bug].install()


def _role(start: Start) -> Coroutine[Any, Any, None]:
    match start.role:
        case "worker":
            return run_worker(_environment(start))
        case "webhook":
            return run_webhook(_environment(start))
        case "simulator":
            options = dict(start.simulator)
            port, merchants = options.pop("port"), options.pop("merchants")
            configs = [_merchant(keys, notify_url, **options) for keys, notify_url in merchants]
            return run_simulator(configs, host="127.0.0.1", port=port)
        case role:
            raise ValueError(f"no role {role!r}")


def _merchant(directory: str, notify_url: str, *, confirmed_service: str, **options: Any) -> SimulatorConfig:
    keys = SimulatorKeys.load_or_create(Path(directory))
    services = (
        Service(appid=keys.appid, service_id=keys.service_id),
        Service(appid=keys.appid, service_id=confirmed_service, mode="need_confirm"),
    )
    return SimulatorConfig(keys=keys, notify_url=notify_url, services=services, **options)


def _environment(start: Start) -> Environment:
    """Take the settings of the case alone, and no `.env` that may lie about."""
    return Environment(start.variables, env_file=Path(os.devnull))


if __name__ == "__main__":
    main()
