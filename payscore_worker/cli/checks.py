"""What a check of the doctor found, and how it is printed."""

from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.text import Text

from payscore_worker.clocks import are_apart, difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one check found; `repair` is what to do when it is not well, or could not be looked at (`ok` is None)."""

    name: str
    ok: bool | None
    detail: str
    repair: str = ""


def print_check(check: Check) -> None:
    console = Console()
    mark = {True: Text("✔ ", style="green"), False: Text("✘ ", style="red"), None: Text("? ", style="yellow")}[check.ok]
    console.print(mark + Text(f"{check.name}: {check.detail}"))
    if not check.ok and check.repair:
        console.print(Text(f"    {check.repair}", style="bold"))


def clock_check(name: str, skew: timedelta, whose: str) -> Check:
    return Check(
        name=name, ok=not are_apart(skew), detail=difference(skew, whose), repair="run NTP: timedatectl set-ntp true"
    )
