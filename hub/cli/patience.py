"""The option `--wait[=TIME]`: its grammar and its meaning as a duration. Never waits itself; importing it costs nothing."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from hub.cli.exits import Exit, Stop

_FOR_EVER = "forever"
_SHORT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}

Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="[=TIME]",
        help="Wait for its end, at most that long (30s, 5m, 2h); the exit code tells how it ended.",
        show_default=False,
    ),
]


class WaitingCommand(TyperCommand):
    """A command whose `--wait` may stand alone: without `=TIME` it takes no word of the command line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [f"--wait={_FOR_EVER}" if arg == "--wait" and n < end else arg for n, arg in enumerate(args)])


def patience(wait: str) -> timedelta | None:
    """Read the time of `--wait`; None = as long as it takes. A plain number is seconds. Raises: Stop (usage)."""
    from hub.core.duration import parse_duration

    if wait == _FOR_EVER:
        return None
    short = _SHORT.fullmatch(wait.strip())
    try:
        return timedelta(seconds=float(short[1]) * _UNITS_S[short[2]]) if short else parse_duration(wait, what="--wait")
    except (ValueError, OverflowError) as error:
        raise Stop(f'--wait: "{wait}" is not a time; write it like --wait=30s or --wait="5 minutes"', Exit.USAGE) from error
