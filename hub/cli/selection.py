"""Which instances a command means, and what is hung on a new one: the options for labels and filters, and how they are read."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from hub.cli.exits import Exit, Stop


class Filter(StrEnum):
    """The statuses that a list can be narrowed to."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    ERRORED = "errored"
    TERMINATED = "terminated"
    COMPLETE = "complete"
    WAITING = "waiting"
    WAITING_FOR_PAUSE = "waitingForPause"
    ROLLING_BACK = "rollingBack"


Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag; may be repeated.", show_default=False)]
Meta = Annotated[
    list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="An entry of the metadata; may be repeated.", show_default=False)
]
Statuses = Annotated[
    list[Filter] | None, typer.Option("--status", help="Only those with this status; may be repeated.", show_default=False)
]
OfTrigger = Annotated[
    str | None, typer.Option("--trigger", metavar="NAME", help="Only those that this trigger has created.", show_default=False)
]
OfVersion = Annotated[
    str | None, typer.Option("--version", metavar="ID", help="Only those that were created with this version.", show_default=False)
]
DateStart = Annotated[
    str | None, typer.Option("--date-start", metavar="DATE", help="Only those created then or later (ISO 8601).", show_default=False)
]
DateEnd = Annotated[
    str | None,
    typer.Option("--date-end", metavar="DATE", help="Only those created then or earlier; a date covers its UTC day.", show_default=False),
]


def metadata(entries: list[str] | None) -> dict[str, Any]:
    """Read `key=value` entries: numbers, true and false as such, anything else as text. Raises: Stop (usage)."""
    found: dict[str, Any] = {}
    for entry in entries or []:
        key, sign, text = entry.partition("=")
        if not sign or not key:
            raise Stop(f'--meta: "{entry}" is not KEY=VALUE, such as customer=4711', Exit.USAGE)
        found[key] = _scalar(text)
    return found


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) and json.dumps(value) == text else text  # 007 and 1e3 are texts


def statuses(wanted: list[Filter] | None) -> str | None:
    """Return statuses as a query has them."""
    return ",".join(wanted) if wanted else None
