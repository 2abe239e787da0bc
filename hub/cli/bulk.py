"""`hub workflows instances bulk`: the same verb for all instances that match a filter, as a job of the hub.

The job runs in the hub, and goes on when this command is interrupted. Nothing is changed before somebody has said yes.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.exits import Exit, Stop
from hub.cli.instances import app
from hub.cli.selection import DateEnd, DateStart, Meta, OfTrigger, OfVersion, Statuses, Tags, metadata
from hub.cli.workflows import Name

_AGAIN_S = 0.3
_DONE = {"pause": "paused", "resume": "resumed", "terminate": "terminated", "restart": "restarted", "delete": "deleted"}


class Action(StrEnum):
    """What can be done to many."""

    PAUSE = "pause"
    RESUME = "resume"
    TERMINATE = "terminate"
    RESTART = "restart"
    DELETE = "delete"


@command(app, "bulk")
async def bulk(
    call: Call,
    action: Annotated[Action, typer.Argument(help="What to do to each of them.", show_default=False)],
    name: Name,
    status: Statuses = None,
    tag: Tags = None,
    meta: Meta = None,
    trigger: OfTrigger = None,
    version: OfVersion = None,
    date_start: DateStart = None,
    date_end: DateEnd = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="terminate: run the rollback handlers of their steps first.")] = False,
    cascade: Annotated[bool, typer.Option("--cascade", help="Do the same to the workflows that they have started.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Needed where there is no terminal.")] = False,
) -> None:
    """Do the same to all instances that match.

    Without --status these are those that the verb is for: a pause or a termination takes what has not ended, a resume what is paused, a
    restart and a deletion what has ended.
    """
    import asyncio

    from hub.cli.progress import shown_progress

    order = _order(action, status, trigger, version, date_start, date_end)
    order["filter"] |= {key: value for key, value in (("tags", tag), ("metadata", metadata(meta))) if value}
    order |= {key: True for key, wanted in (("rollback", rollback), ("cascade", cascade)) if wanted}
    counted = (await call.client.post(name, "jobs", body=json.dumps({**order, "dry_run": True}))).result
    told = f"{counted['total']:,} {'instance' if counted['total'] == 1 else 'instances'} of {name}"
    if dry_run or not counted["total"]:
        screen.show_json(counted) if call.json else screen.show([f"{told} would be {_DONE[action]}"])
        return
    _confirm(f"{action.capitalize()} {told}?", yes)
    job = (await call.client.post(name, "jobs", body=json.dumps(order))).result
    screen.note(f"job {job['id']} runs in the hub, also when this command is interrupted")
    with shown_progress() as progress:
        while job["state"] == "running":
            progress(f"{job['done'] + job['failed']:,} of {job['total']:,}", job["done"] + job["failed"], job["total"])
            await asyncio.sleep(_AGAIN_S)
            job = (await call.client.get(name, "jobs", job["id"])).result
    _show(call, job, name)


def _order(
    action: Action, status: Statuses, trigger: str | None, version: str | None, date_start: str | None, date_end: str | None
) -> dict[str, Any]:
    from hub.cli import payloads

    first, last = payloads.date_range(date_start, date_end)
    given = {"status": status, "trigger": trigger, "version": version, "date_start": first, "date_end": last}
    return {"action": action.value, "filter": {key: value for key, value in given.items() if value}}


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Stop(f"{question} Nobody can be asked here: give --yes, or --dry-run to count them", Exit.USAGE)
    if not typer.confirm(question, err=True):
        raise Stop("nothing was changed; answer y, or give --yes")


def _show(call: Call, job: dict[str, Any], name: str) -> None:
    if call.json:
        screen.show_json(job)
    else:
        screen.show([f"{job['done']:,} of {job['total']:,} instances of {name} were {_DONE[job['action']]}"])
    if job["failed"] or job["state"] != "done":
        reasons = "".join(f"\n  - {error['id']}: {error['message']}" for error in job["errors"])
        more = "\n  - …" if job["failed"] > len(job["errors"]) else ""
        raise Stop(f"{job['failed']:,} were refused; the job is {job['state']}{reasons}{more}")
