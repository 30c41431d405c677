"""What WeChat Pay takes as text: in its alphabet, and no longer than it says."""

import re
from typing import Final

_BREAKS: Final = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_UNSENDABLE: Final = re.compile(
    "["
    r"\x00-\x1f\x7f-\x9f"  # control characters
    r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"  # invisible ones: joiners, direction marks
    r"\ufe00-\ufe0f"  # variation selectors, left over from an emoji
    r"\ud800-\udfff\ufffe\uffff"  # half characters and none
    r"\U00010000-\U0010ffff"  # four bytes in UTF-8: refused (reference payscore-api E.1)
    "]+"
)


def clean(text: str) -> str:
    """Take out what WeChat Pay refuses or nobody can see."""
    return _UNSENDABLE.sub("", _BREAKS.sub(" ", text)).strip()


def cap(text: str, chars: int) -> str:
    """Shorten a cleaned text to `chars` characters; one Chinese character counts as one."""
    return clean(text)[:chars].rstrip()


def cap_bytes(text: str, size: int) -> str:
    """Shorten a cleaned text to `size` bytes of UTF-8, at the border of a character."""
    return clean(text).encode()[:size].decode(errors="ignore").rstrip()
