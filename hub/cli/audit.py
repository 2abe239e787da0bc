"""The commands `hub audit …`: who has steered the hub, and who was refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.options import remember
from hub.cli.workflows import PerPage

_EXAMPLES = """\b
Examples:
  hub audit list --outcome refused
  hub audit list --caller ci --date-start 2027-01-31"""

app = typer.Typer(no_args_is_help=True, help="See who has steered the hub, and who was refused.", callback=remember, epilog=_EXAMPLES)


class Outcome(StrEnum):
    """How a request ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@command(app, "list")
async def list_audit(
    call: Call,
    caller: Annotated[
        str | None, typer.Option("--caller", metavar="NAME", help="Only of the token of this name.", show_default=False)
    ] = None,
    operation: Annotated[
        str | None, typer.Option("--operation", metavar="NAME", help="Only this operation, such as deleteInstance.", show_default=False)
    ] = None,
    outcome: Annotated[
        list[Outcome] | None, typer.Option("--outcome", help="Only those that ended so; may be repeated.", show_default=False)
    ] = None,
    date_start: Annotated[
        str | None, typer.Option("--date-start", metavar="DATE", help="Only then or later (ISO 8601).", show_default=False)
    ] = None,
    date_end: Annotated[
        str | None, typer.Option("--date-end", metavar="DATE", help="Only then or earlier; a date covers its UTC day.", show_default=False)
    ] = None,
    per_page: PerPage = None,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on behind a page: the cursor that it ended with.", show_default=False)
    ] = None,
) -> None:
    """List control actions and refused requests, newest first."""
    from hub.cli import payloads

    first, last = payloads.date_range(date_start, date_end)
    wanted = ",".join(each.value for each in outcome) if outcome else None
    answer = await call.client.of("audit").get(
        caller=caller, operation=operation, outcome=wanted, date_start=first, date_end=last, per_page=per_page, cursor=cursor
    )
    if call.json:
        screen.show_json(answer.result)
    elif not answer.result:
        screen.note("There are no such entries")
    else:
        from hub.cli import render_access
        from hub.cli.words import Viewer

        screen.show(render_access.audit_list(answer.result, answer.info.get("total_count"), Viewer.here()))
    if answer.info.get("cursor"):
        screen.note(f"More follow: --cursor {answer.info['cursor']}")
