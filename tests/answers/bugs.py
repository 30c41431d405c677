"""The control group: each fault that answers once caused, put back. The laws must catch every one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A defect, and where to look for it."""

    install: Callable[[pytest.MonkeyPatch], None]
    cases: tuple[str, ...]
    """Names of cases, without the bug, in which it should show."""


BUGS: Final[Mapping[str, Bug]] = {}
