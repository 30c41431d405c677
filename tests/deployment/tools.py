"""Programs that check deployment files: from the PATH, or from a virtual environment of their own made on first use.

They are large (a hundred megabytes of Kubernetes schemas, and two compiled programs), and who only works on the code
does not want them. So they are locked beside this file and not among the project's own dependencies.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = Path(__file__).with_name("tools.lock")
HOME: Final = ROOT / ".run" / "deployment-tools"

INSTALL_SECONDS: Final = 200.0
"""A quarter of a minute on an idle machine."""
RUN_SECONDS: Final = 60.0


class Missing(Exception):
    """The tool is not here and cannot be installed; the text says what to do."""


def find(name: str) -> str:
    """Find a tool, installing ours if need be.

    Raises:
        Missing: it is not to be had.

    """
    found = shutil.which(name)
    if found is not None:
        return found
    _install()
    own = HOME / "bin" / name
    if not own.exists():
        raise Missing(f"{name} is not on the PATH, and not among those of {LOCK.name}")
    return str(own)


def run(*words: str | Path, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed, whatever its exit code."""
    return subprocess.run(  # noqa: S603  our own words, and no shell
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def _install() -> None:
    """Install what the lock names, once; several test processes may want it at the same moment."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = HOME / "installed"
        if done.exists() and done.read_text() == LOCK.read_text():
            return
        python = str(HOME / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        for words in (
            [sys.executable, "-m", "venv", str(HOME)],
            [*pip, "--only-binary", ":all:", "--require-hashes", "--requirement", str(LOCK)],
        ):
            try:
                subprocess.run(words, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)  # noqa: S603  our own words
            except (OSError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", None) or str(error)
                raise Missing(f"the tools of {LOCK} could not be installed: {said[-500:]}") from error
        done.write_text(LOCK.read_text())
