"""The commands `hub deliveries …`: what was received and created no instance, and how to try it again.

Owns their names, options and requests. Rendering is `render_triggers.py`'s; failures are `command.py`'s.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.exits import Exit, Stop
from hub.cli.options import remember
from hub.cli.triggers import show_receipt
from hub.cli.workflows import PerPage

_EXAMPLES = """\b
Examples:
  hub deliveries list --trigger github --status rejected
  hub deliveries describe ID
  hub deliveries replay ID"""

app = typer.Typer(
    no_args_is_help=True, help="Look at what was filtered, refused, held or missed, and replay it.", callback=remember, epilog=_EXAMPLES
)

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the delivery.", show_default=False)]


class Filter(StrEnum):
    """The statuses that a list can be narrowed to."""

    FILTERED = "filtered"
    REJECTED = "rejected"
    DEAD = "dead"
    HELD = "held"
    SKIPPED = "skipped"
    MISSED = "missed"
    REPLAYED = "replayed"


@command(app, "list")
async def list_deliveries(
    call: Call,
    trigger: Annotated[str | None, typer.Option("--trigger", help="Only those of this trigger.", show_default=False)] = None,
    status: Annotated[
        list[Filter] | None, typer.Option("--status", help="Only those with this status; may be repeated.", show_default=False)
    ] = None,
    date_start: Annotated[
        str | None, typer.Option("--date-start", metavar="DATE", help="Only those received then or later (ISO 8601).", show_default=False)
    ] = None,
    date_end: Annotated[
        str | None,
        typer.Option(
            "--date-end", metavar="DATE", help="Only those received then or earlier; a date covers its UTC day.", show_default=False
        ),
    ] = None,
    per_page: PerPage = None,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on behind a page: the cursor that it ended with.", show_default=False)
    ] = None,
) -> None:
    """List stored deliveries, newest first.

    Those that created an instance are found there: `hub workflows instances describe`.
    """
    from hub.cli import payloads

    first, last = payloads.date_range(date_start, date_end)
    wanted = ",".join(one.value for one in status) if status else None
    answer = await call.client.of("deliveries").get(
        trigger=trigger, status=wanted, date_start=first, date_end=last, per_page=per_page, cursor=cursor
    )
    if call.json:
        screen.show_json(answer.result)
    elif not answer.result:
        screen.note("There are no such deliveries" if trigger or wanted or first or last else "There are no stored deliveries")
    else:
        from hub.cli import render_triggers
        from hub.cli.words import Viewer

        screen.show(render_triggers.delivery_list(answer.result, answer.info.get("total_count"), Viewer.here()))
    if answer.info.get("cursor"):
        screen.note(f"More follow: --cursor {answer.info['cursor']}")


@command(app, "describe")
async def describe(call: Call, id: Id) -> None:
    """Describe a delivery with the event as it was received."""
    found = (await call.client.of("deliveries").get(id)).result
    if call.json:
        screen.show_json(found)
        return
    from hub.cli import render_triggers
    from hub.cli.words import Viewer

    screen.show(render_triggers.delivery(found, Viewer.here()))


@command(app, "replay")
async def replay(
    call: Call, ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of deliveries.", show_default=False)]
) -> None:
    """Emit stored deliveries again, through the rules of today.

    Each gets a fresh key; one that was held keeps its own.
    """
    failed: list[str] = []
    for id in ids:
        try:
            show_receipt(call, (await call.client.of("deliveries").post(id, "replay", body="{}")).result)
        except Stop as stop:
            if len(ids) == 1:
                raise
            failed.append(f"{id}: {stop.message}")
    if failed:
        raise Stop("\n".join(failed), Exit.FAILED)
