"""`hub workflows instances logs`: what the steps of an instance have logged.

Following asks for what comes after the last line that was shown, once a second, until the instance has ended.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.instances import LATEST, app
from hub.cli.workflows import Name

if TYPE_CHECKING:
    from hub.cli.words import Viewer

_AT_ONCE = 1000
_AGAIN_S = 1.0


class Level(StrEnum):
    """The levels of lines, the least serious first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


@command(app, "logs")
async def show_logs(
    call: Call,
    name: Name,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the instance, or `latest`.")] = LATEST,
    step: Annotated[
        str | None, typer.Option("--step", metavar="NAME", help="Only this step: charge, or charge-1.", show_default=False)
    ] = None,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Only this attempt.", show_default=False)] = None,
    level: Annotated[Level | None, typer.Option("--level", help="Only lines of this level, or more serious.", show_default=False)] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the instance has ended.")] = False,
) -> None:
    """Show what the steps of an instance have logged."""
    import asyncio

    from hub.cli.waiting import ENDED
    from hub.cli.words import Viewer

    viewer = Viewer.here()
    wanted: dict[str, Any] = {"step": step, "attempt": attempt, "level": level and level.value, "per_page": _AT_ONCE}
    id = str((await call.client.get(name, "instances", id, simple="true")).result["id"])
    cursor: str | None = None
    found = False
    while True:
        ended = follow and (await call.client.get(name, "instances", id, simple="true")).result["status"] in ENDED
        lines = (await call.client.get(name, "instances", id, "logs", cursor=cursor, **wanted)).result
        for line in lines:
            screen.show_line(line) if call.json else screen.show([screen.safe(_told(line, viewer))])
        found = found or bool(lines)
        if lines:
            cursor = lines[-1]["cursor"]
        if len(lines) == _AT_ONCE:
            continue
        if not follow or ended:
            break
        await asyncio.sleep(_AGAIN_S)
    if not found and not call.json:
        screen.note(f'No step of the instance "{id}" has logged anything' + (" that matches" if any((step, attempt, level)) else ""))


def _told(line: dict[str, Any], viewer: Viewer) -> str:
    again = f" #{line['attempt']}" if line["attempt"] > 1 else ""
    return f"{viewer.moment(line['timestamp'])}  {line['level'].upper():<8} {line['step']}{again}  {line['message']}"
