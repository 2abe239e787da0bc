"""The option `--wait[=TIME]`: its grammar and its meaning as a duration. Never waits itself; importing it costs nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from hub.cli.exits import Exit, Stop

_FOR_EVER = "forever"

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
    from hub.core.duration import parse_short

    if wait == _FOR_EVER:
        return None
    try:
        return parse_short(wait, what="--wait")
    except ValueError as error:
        raise Stop(f'--wait: "{wait}" is not a time; write it like --wait=30s or --wait="5 minutes"', Exit.USAGE) from error
