"""Programs of the system that some tests need: found, or installed where we may."""

import shutil
from typing import Final

import pytest

from deploy.local.errors import SetupFailed
from deploy.local.services import install_package

ALSO_IN: Final = ("/usr/sbin", "/usr/local/sbin")
"""Where servers lie, also for those who do not have it in their PATH."""


def provide(program: str, *, package: str) -> str:
    """Find a program, or install Debian's package that has it; skip the test, with what to type, if neither works."""
    if (found := _find(program)) is not None:
        return found
    try:
        install_package(program, package)
    except SetupFailed as error:  # apt also fails when only the service it starts does not come up
        if _find(program) is None:
            pytest.skip(str(error))
    return _find(program) or pytest.skip(f"the package {package} brought no {program}")


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=":".join(ALSO_IN))
