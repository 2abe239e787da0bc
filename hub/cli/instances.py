"""The commands `hub workflows instances …`.

Owns their names, options and requests, and the meaning of `latest`: the newest instance of the workflow. Rendering is `render.py`'s;
failures are `command.py`'s.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.exits import Exit, Stop
from hub.cli.options import remember
from hub.cli.patience import Wait, patience
from hub.cli.selection import DateEnd, DateStart, Meta, OfTrigger, OfVersion, Statuses, Tags, metadata, statuses
from hub.cli.workflows import Name, Page, PerPage, Yes, confirm

_EXAMPLES = """\b
Examples:
  hub workflows instances list orders --status errored
  hub workflows instances describe orders latest
  hub workflows instances send-event orders ID --type approved --payload '{"by": "kim"}'"""

app = typer.Typer(no_args_is_help=True, help="Manage the instances of a workflow.", callback=remember, epilog=_EXAMPLES)

LATEST = "latest"

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the instance, or `latest`.", show_default=False)]


class StepType(StrEnum):
    """The kinds of step that a restart can begin at."""

    DO = "do"
    SLEEP = "sleep"
    WAIT_FOR_EVENT = "waitForEvent"
    WORKFLOW = "workflow"


@command(app, "list")
async def list_instances(
    call: Call,
    name: Name,
    status: Statuses = None,
    tag: Tags = None,
    meta: Meta = None,
    trigger: OfTrigger = None,
    version: OfVersion = None,
    date_start: DateStart = None,
    date_end: DateEnd = None,
    page: Page = 1,
    per_page: PerPage = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Oldest first within the page.")] = False,
) -> None:
    """List the instances of a workflow, newest first."""
    from hub.cli import payloads

    first, last = payloads.date_range(date_start, date_end)
    asked = {
        "status": statuses(status),
        "tag": ",".join(tag) if tag else None,
        "metadata": json.dumps(metadata(meta)) if meta else None,
        "trigger": trigger,
        "version": version,
        "date_start": first,
        "date_end": last,
    }
    answer = await call.client.get(name, "instances", page=page, per_page=per_page, **asked)
    found = sorted(answer.result, key=lambda item: str(item["created_on"]), reverse=True)
    if reverse:
        found.reverse()
    if call.json:
        screen.show_json(found)
    elif not found:
        screen.note(_nothing(name, page, filtered=any(asked.values())))
    else:
        from hub.cli import render
        from hub.cli.words import Viewer

        screen.show(render.instance_list(found, page, Viewer.here()))


def _nothing(name: str, page: int, *, filtered: bool) -> str:
    if page > 1:
        return f"No instances found on page {page}; try a smaller one"
    if filtered:
        return f'No instances in workflow "{name}" matched the provided filters'
    return f'There are no instances in workflow "{name}"; create one with `hub workflows trigger {name}`'


@command(app, "describe")
async def describe(
    call: Call,
    name: Name,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the instance, or `latest`.")] = LATEST,
    step_output: Annotated[bool, typer.Option("--step-output/--no-step-output", help="Whether to show what each step returned.")] = True,
    truncate_output_limit: Annotated[
        int, typer.Option("--truncate-output-limit", min=0, help="After how many characters an output is cut.")
    ] = 5000,
) -> None:
    """Describe an instance: its steps, their attempts and errors."""
    found = (await call.client.get(name, "instances", id)).result
    instance_id = str(found.get("id", id))
    if call.json:
        screen.show_json({"id": instance_id, **found})
        return
    from hub.cli import render
    from hub.cli.words import Viewer

    if id == LATEST:
        screen.show(["Describing latest instance:"])
    screen.show(render.instance(name, instance_id, found, Viewer.here(), output=step_output, limit=truncate_output_limit))


@command(app, "tail")
async def tail(
    call: Call,
    name: Name,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the instance, or `latest`.")] = LATEST,
    filter: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="TYPES",
            help="Only events of these types, such as step_completed,step_errored; a wrong one lists them all.",
            show_default=False,
        ),
    ] = None,
    cursor: Annotated[
        int | None,
        typer.Option("--cursor", min=0, metavar="NUMBER", help="Only events after the one with this number.", show_default=False),
    ] = None,
) -> None:
    """Follow an instance: what has happened, then what happens."""
    from hub.cli import render
    from hub.cli.words import Viewer

    viewer = Viewer.here()
    instance_id = await _resolve(call, name, id)
    async for event in call.client.follow(name, "instances", instance_id, "subscribe", filter=filter, cursor=cursor):
        if call.json:
            screen.show_line(event)
        else:
            screen.show([render.event(event, viewer)])


@command(app, "send-event")
async def send_event(
    call: Call,
    name: Name,
    id: Id,
    type: Annotated[str, typer.Option("--type", help="Type of the event, as the workflow waits for it.", show_default=False)],
    payload: Annotated[
        str | None, typer.Option("--payload", metavar="JSON", help="What the event carries: a JSON text; else {}.", show_default=False)
    ] = None,
    input: Annotated[
        str | None, typer.Option("--input", metavar="@FILE|-", help="Read it from a file or from standard input.", show_default=False)
    ] = None,
    wait: Wait = None,
) -> None:
    """Send an event to an instance."""
    from hub.cli import payloads
    from hub.core.outside import parse_json

    text = payloads.one_json(payload, "--payload", input) or "{}"
    if wait is not None:
        patience(wait)
    instance_id = await _resolve(call, name, id)
    answer = await call.client.post(name, "instances", instance_id, "events", type, body=text)
    value = parse_json(text)
    shown = "" if value == {} else f' and payload "{json.dumps(value, separators=(",", ":"), ensure_ascii=False)}"'
    told = f'📤 The event with type "{type}"{shown} was sent to the instance "{instance_id}" from {name}'
    if wait is not None:
        from hub.cli.waiting import to_the_end

        screen.note(told)
        await to_the_end(call, name, instance_id, wait)
    elif call.json:
        screen.show_json(answer.result)
    else:
        screen.show([screen.safe(told)])


@command(app, "pause")
async def pause(call: Call, name: Name, id: Id, wait: Wait = None) -> None:
    """Pause an instance; running steps finish first."""
    later = "told to pause; it does when its running steps have ended"
    await _change(call, name, id, {"status": "pause"}, "⏸️", "paused", later, wait=wait, wanted="paused")


@command(app, "resume")
async def resume(call: Call, name: Name, id: Id, wait: Wait = None) -> None:
    """Resume a paused instance."""
    await _change(call, name, id, {"status": "resume"}, "🔄", "resumed", wait=wait)


@command(app, "terminate")
async def terminate(
    call: Call,
    name: Name,
    id: Id,
    rollback: Annotated[bool, typer.Option("--rollback", help="Run the rollback handlers of its steps first.")] = False,
    cascade: Annotated[bool, typer.Option("--cascade", help="Terminate the workflows that it has started too.")] = False,
    wait: Wait = None,
) -> None:
    """Terminate an instance at once, or after its rollback."""
    wishes = {key: True for key, wanted in (("rollback", rollback), ("cascade", cascade)) if wanted}
    done = "told to roll back and terminate" if rollback else "terminated"
    await _change(call, name, id, {"status": "terminate", **wishes}, "🥷", done, wait=wait, wanted="terminated")


@command(app, "restart")
async def restart(
    call: Call,
    name: Name,
    id: Id,
    from_step_name: Annotated[
        str | None, typer.Option("--from-step-name", help="Begin at this step and keep what came before it.", show_default=False)
    ] = None,
    from_step_count: Annotated[
        int | None, typer.Option("--from-step-count", min=1, help="Which occurrence of that name; 1 if not given.", show_default=False)
    ] = None,
    from_step_type: Annotated[
        StepType | None,
        typer.Option("--from-step-type", help="Which kind of step; else whichever of that name began first.", show_default=False),
    ] = None,
    wait: Wait = None,
) -> None:
    """Restart an instance from the beginning or from a step."""
    body: dict[str, Any] = {"status": "restart"}
    if from_step_name is not None:
        body["from"] = {"name": from_step_name}
        if from_step_count is not None:
            body["from"]["count"] = from_step_count
        if from_step_type is not None:
            body["from"]["type"] = from_step_type.value
    elif from_step_count is not None or from_step_type is not None:
        raise Stop("--from-step-count and --from-step-type say more about a step; name it with --from-step-name", Exit.USAGE)
    await _change(call, name, id, body, "🥷", "restarted", wait=wait)


@command(app, "delete")
async def delete(
    call: Call,
    name: Name,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of the instances.", show_default=False)] = None,
    filename: Annotated[
        str | None, typer.Option("--filename", metavar="FILE", help="Read more ids from a file: a JSON array.", show_default=False)
    ] = None,
    yes: Yes = False,
) -> None:
    """Delete instances, 100 at most, and all that is known of them."""
    from hub.cli import payloads

    ids = payloads.ids(ids or [], filename)
    confirm(f'Delete {len(ids)} {"instance" if len(ids) == 1 else "instances"} of the workflow "{name}"?', yes)
    answer = await call.client.post(name, "instances", "batch", "delete", body=json.dumps({"instances": ids}))
    deleted, errors = answer.result["deleted"], answer.result["errors"]
    if call.json:
        screen.show_json(answer.result)
    elif deleted:
        told = ", ".join(f'"{item["id"]}"' for item in deleted)
        screen.show([screen.safe(f'🗑️  Deleted workflow instances from "{name}": {told}')])
    if errors:
        reasons = "\n".join(f"  - {error['id']}: {error['message']}" for error in errors)
        raise Stop(f"{len(errors)} of {len(ids)} could not be deleted:\n{reasons}", _worst(errors))


def _worst(errors: list[dict[str, Any]]) -> Exit:
    """NOT_FOUND when that is all that went wrong."""
    return Exit.NOT_FOUND if all(error.get("code") == 10400 for error in errors) else Exit.FAILED


async def _change(
    call: Call,
    name: str,
    id: str,
    body: dict[str, Any],
    sign: str,
    done: str,
    later: str | None = None,
    *,
    wait: str | None = None,
    wanted: str | None = None,
) -> None:
    """Change the status of an instance; `later` is told instead of `done` while it waits for its running steps.

    With `wait` it ends when the instance has the status `wanted`; None = when it has ended, however that was.
    """
    if wait is not None:
        patience(wait)  # a slip of the finger changes nothing
    instance_id = await _resolve(call, name, id)
    answer = await call.client.patch(name, "instances", instance_id, "status", body=json.dumps(body))
    waits = later is not None and answer.result.get("status") == "waitingForPause"
    told = f'{sign} The instance "{instance_id}" from {name} was {later if waits else f"{done} successfully"}'
    if wait is None:
        screen.show_json(answer.result) if call.json else screen.show([screen.safe(told)])
        return
    from hub.cli import waiting

    screen.note(told)
    if wanted is None:
        await waiting.to_the_end(call, name, instance_id, wait)
        return
    found = await waiting.until(call, name, instance_id, wait, frozenset({wanted}))
    if found["status"] != wanted:
        waiting.show_end(name, found, json=call.json)
        raise Stop(f'the instance "{instance_id}" had ended before that', Exit.CONFLICT)
    screen.show_json(found) if call.json else screen.show([screen.safe(f"{name} {instance_id} is {wanted}")])


async def _resolve(call: Call, name: str, id: str) -> str:
    """Turn `latest` into the id of the newest instance, so that the answer can name it."""
    if id != LATEST:
        return id
    return str((await call.client.get(name, "instances", LATEST, simple="true")).result["id"])
