"""Where a command writes: data to stdout, messages to stderr; in colour on a terminal, plain when piped.

Owns the choice between the two and the cleaning of text that came from elsewhere. When piped, nothing is cut or wrapped: the width of a
terminal plays no part. Control characters of a payload never reach a terminal as such.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_UNLIMITED = 1_000_000  # columns: wider than any line, so that a pipe gets every cell whole
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def safe(text: str) -> str:
    """Make control characters visible, so that recorded text cannot drive the reader's terminal."""
    return text.translate(_VISIBLE)


def console(file: TextIO) -> Console:
    """Return a console for a stream: as wide as the terminal, or unlimited and plain."""
    from rich.console import Console

    width = None if file.isatty() else _UNLIMITED
    return Console(file=file, width=width, markup=False, highlight=False, emoji=False)


def show(parts: Iterable[RenderableType]) -> None:
    """Write the command's data. Tables fit themselves into a terminal; all other lines are left to it, so that copying gives them whole."""
    from rich.text import Text

    out = console(sys.stdout)
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, (str, Text)))
    sys.stdout.flush()


def show_json(value: Any) -> None:
    """Write a value as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=4, ensure_ascii=False) + "\n")


def show_line(value: Any) -> None:
    """Write a value as one line of JSON, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(message: str) -> None:
    """Tell something beside the data."""
    _say(message, "yellow")


def complain(message: str) -> None:
    """Tell why the command failed."""
    _say(f"error: {message}", "red")


def _say(message: str, style: str) -> None:
    if sys.stderr.isatty():
        console(sys.stderr).print(safe(message), style=style, soft_wrap=True)
    else:
        sys.stderr.write(safe(message) + "\n")
