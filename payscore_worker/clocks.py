"""How far apart two clocks may be before one of them is wrong, and how that is said."""

from datetime import timedelta
from typing import Final

MAX_SKEW: Final = timedelta(seconds=5)
"""Half of the margin that we keep in the times we send to WeChat Pay; clocks that are set agree to milliseconds."""


def are_apart(ahead: timedelta) -> bool:
    """Tell whether two clocks cannot both be right, of which one is ahead by this."""
    return abs(ahead) > MAX_SKEW


def difference(ahead: timedelta, whose: str) -> str:
    """Say by how much our clock is ahead of somebody's, or behind."""
    seconds = ahead.total_seconds()
    return f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} {whose}"


def trouble_with(ahead: timedelta, whose: str) -> str:
    """Say what is wrong with our clock, which is ahead of somebody's by this; nothing, if it may be right."""
    return f"our clock is {difference(ahead, whose)}" if are_apart(ahead) else ""
