"""Where the clients that others wrote live: installed on first use by their locks, away from the project's own.

They are no dependencies of ours, so each has a lock beside this file and a folder among the temporary ones. Which
registry they come from is a matter of the machine's own pip and npm.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PYTHON_LOCK: Final = HERE / "python.lock"
NODE_FILES: Final = (HERE / "package.json", HERE / "package-lock.json")

INSTALL_SECONDS: Final = 150.0
"""Each takes some ten; a registry that is out of reach is given up sooner, by the words below."""
PIP_WORDS: Final = ("--quiet", "--no-input", "--disable-pip-version-check", "--retries", "1", "--timeout", "15")
NPM_WORDS: Final = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=15000")


class Missing(Exception):
    """The client is not here and cannot be installed; the text says why."""


def python_home() -> Path:
    """The virtual environment that holds wechatpayv3.

    Raises:
        Missing: it is not to be had.

    """
    home = _home("python", [PYTHON_LOCK])
    pip = (str(home / "bin" / "python"), "-m", "pip", "install", *PIP_WORDS)
    commands = [
        (sys.executable, "-m", "venv", "--clear", str(home)),
        (*pip, "--only-binary", ":all:", "--require-hashes", "--requirement", str(PYTHON_LOCK)),
    ]
    return _installed(home, "wechatpayv3", commands)


def node_home() -> Path:
    """The folder whose node_modules hold wechatpay-axios-plugin.

    Raises:
        Missing: it is not to be had.

    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not on the PATH")
    home = _home("node", NODE_FILES)
    home.mkdir(parents=True, exist_ok=True)
    for file in NODE_FILES:
        shutil.copy(file, home)
    return _installed(home, "wechatpay-axios-plugin", [("npm", "ci", "--prefix", str(home), *NPM_WORDS)])


def _home(kind: str, locks: Sequence[Path]) -> Path:
    """Another lock has another folder; nobody else may write there."""
    own = Path(tempfile.gettempdir()) / f"payscore-worker-clients-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    if own.is_symlink() or own.stat().st_uid != os.getuid():
        raise Missing(f"{own} is somebody else's")
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()
    return own / f"{kind}-{digest[:16]}"


def _installed(home: Path, client: str, commands: Sequence[Sequence[str]]) -> Path:
    """Install once; several test processes may want it at the same moment."""
    done = home / "installed"
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in () if done.exists() else commands:
            try:
                subprocess.run(words, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)  # noqa: S603 - our own words
            except (OSError, subprocess.SubprocessError) as error:
                raise Missing(f"{client} could not be installed: {_reason(error)}") from error
        done.touch()
    return home


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    """The line in which pip, or npm, says what is wrong; both say much around it."""
    said = str(getattr(error, "stderr", None) or error).strip().splitlines()
    return next((line for line in said if line.lower().startswith(("error", "npm error"))), said[-1])
