"""The commands `hub triggers …`: look at triggers, pause and resume them, run a schedule now or for a time that lies behind.

Owns their names, options and requests. Rendering is `render_triggers.py`'s; failures are `command.py`'s.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.exits import Stop
from hub.cli.options import remember
from hub.cli.patience import Wait, patience

_EXAMPLES = """\b
Examples:
  hub triggers list
  hub triggers describe nightly
  hub triggers pause github --note "until the migration is done"
  hub triggers backfill nightly --start 2026-01-01 --end 2026-01-08 --dry-run"""

app = typer.Typer(no_args_is_help=True, help="Look at triggers and steer them.", callback=remember, epilog=_EXAMPLES)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the trigger.", show_default=False)]


class OverlapChoice(StrEnum):
    """What a backfill does while an earlier instance of the trigger has not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    QUEUE_ALL = "queue_all"
    CANCEL_RUNNING = "cancel_running"
    TERMINATE_RUNNING = "terminate_running"


@command(app, "list")
async def list_triggers(call: Call) -> None:
    """List the triggers with their state."""
    found = (await call.client.of("triggers").get()).result
    if call.json:
        screen.show_json(found)
    elif not found:
        screen.note("There are no triggers; add a [[triggers]] table to hub.toml")
    else:
        from hub.cli import render_triggers
        from hub.cli.words import Viewer

        screen.show(render_triggers.trigger_list(found, Viewer.here()))


@command(app, "describe")
async def describe(
    call: Call,
    name: Name,
    next: Annotated[int, typer.Option("--next", min=0, max=100, help="How many of a schedule's next occurrences to show.")] = 10,
) -> None:
    """Describe a trigger: its state, its counts, its next times."""
    client = call.client.of("triggers")
    found = (await client.get(name)).result
    preview = (await client.get(name, "preview", count=next)).result if next and found["kind"] == "cron" else None
    if call.json:
        screen.show_json(found if preview is None else {**found, "preview": preview})
        return
    from hub.cli import render_triggers
    from hub.cli.words import Viewer

    screen.show(render_triggers.trigger(found, preview, Viewer.here()))


@command(app, "pause")
async def pause(
    call: Call,
    name: Name,
    note: Annotated[str | None, typer.Option("--note", help="Why; shown until it is resumed.", show_default=False)] = None,
) -> None:
    """Pause a trigger.

    Webhooks are accepted and held, queues are not consumed, schedules skip.
    """
    body: dict[str, Any] = {"status": "pause"} | ({"note": note} if note is not None else {})
    await _steer(call, name, body, f'⏸️ Trigger "{name}" has been paused')


@command(app, "resume")
async def resume(call: Call, name: Name) -> None:
    """Resume a trigger; what was held is emitted, oldest first."""
    await _steer(call, name, {"status": "resume"}, f'▶ Trigger "{name}" has been resumed')


@command(app, "fire")
async def fire(
    call: Call,
    name: Name,
    payload: Annotated[str | None, typer.Argument(metavar="PAYLOAD", help="The event's payload: a JSON text.", show_default=False)] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Idempotency key: a second event with it creates nothing.", show_default=False)
    ] = None,
    input: Annotated[
        str | None, typer.Option("--input", metavar="@FILE|-", help="Read PAYLOAD from a file or from standard input.", show_default=False)
    ] = None,
    wait: Wait = None,
) -> None:
    """Emit an event in a trigger's name; a schedule runs now."""
    from hub.cli import payloads

    text = payloads.one_json(payload, "PAYLOAD", input)
    if wait is not None:
        patience(wait)  # a slip of the finger emits nothing
    fields = [f'"key":{json.dumps(key)}'] if key is not None else []
    if text is not None:
        fields.append(f'"payload":{text}')
    receipt = (await call.client.of("triggers").post(name, "fire", body=f"{{{','.join(fields)}}}")).result
    if wait is None:
        show_receipt(call, receipt)
    else:
        from hub.cli import render_triggers
        from hub.cli.waiting import to_the_end

        told = render_triggers.receipt(receipt).plain
        if receipt.get("instance_id") is None:
            raise Stop(f"there is no instance to wait for: {told}")
        screen.note(told)
        await to_the_end(call, str(receipt["workflow_name"]), str(receipt["instance_id"]), wait)


@command(app, "backfill")
async def backfill(
    call: Call,
    name: Name,
    start: Annotated[
        str, typer.Option("--start", metavar="DATE", help="Start of the span (ISO 8601), part of it.", show_default=False)
    ],
    end: Annotated[
        str, typer.Option("--end", metavar="DATE", help="End of the span, not part of it; no later than now.", show_default=False)
    ],
    overlap: Annotated[
        OverlapChoice | None,
        typer.Option(
            "--overlap",
            help="Overlap policy of this backfill; else one after another, or all at once where the schedule allows it.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many occurrences.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which occurrences these are.")] = False,
) -> None:
    """Run a schedule for a time that lies behind, oldest first.

    Occurrences that ran are not run again. Where --limit leaves some out, it says the --start to go on with.
    """
    from hub.cli import payloads

    body: dict[str, Any] = {
        "start": payloads.date(start, "--start"), "end": payloads.date(end, "--end"), "limit": limit, "dry_run": dry_run,
    }  # fmt: skip
    if overlap is not None:
        body["overlap"] = overlap.value
    answer = await call.client.of("triggers").post(name, "backfill", body=json.dumps(body))
    if call.json:
        screen.show_json(answer.result)
    else:
        from hub.cli import render_triggers
        from hub.cli.words import Viewer

        screen.show(render_triggers.backfill(answer.result, dry_run=dry_run, viewer=Viewer.here()))
    if answer.info.get("cursor"):
        screen.note(f"More follow: --start {answer.info['cursor']}")


def show_receipt(call: Call, receipt: dict[str, Any]) -> None:
    """Show what became of an event."""
    if call.json:
        screen.show_json(receipt)
        return
    from hub.cli import render_triggers

    screen.show([render_triggers.receipt(receipt)])


async def _steer(call: Call, name: str, body: dict[str, Any], done: str) -> None:
    answer = await call.client.of("triggers").patch(name, "status", body=json.dumps(body))
    if call.json:
        screen.show_json(answer.result)
    else:
        screen.show([screen.safe(done)])
