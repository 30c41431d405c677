"""What people type beside options."""

from typing import IO, Any, Final

import click

MAX_CHARACTERS: Final = 1000
"""No id, reason or name of ours is longer."""


class NotText(click.BadParameter):
    """What was typed is no text; said in one line, and without the thing itself, which no terminal can show."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        name = self.param.human_readable_name if self.param is not None else "a parameter"
        click.echo(f"error: {name}: {self.message}", file=file, err=file is None)


class Text(click.ParamType[str]):
    """A name or a reason: text that databases, brokers and terminals can take."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401 - click's signature
        """Take it as it is, or refuse it."""
        text = str(value)
        if wrong := _wrong_with(text):
            raise NotText(wrong, ctx=ctx, param=param)
        return text


def _wrong_with(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        return f"has {len(text)} characters; {MAX_CHARACTERS} are allowed"
    if not _is_whole(text):
        return "is not UTF-8; type or paste it again"
    return "contains NUL" if "\0" in text else ""


def _is_whole(text: str) -> bool:
    """Tell whether it was text: bytes that were not are half characters by now."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
