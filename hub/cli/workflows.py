"""The commands `hub workflows …`: what `wrangler workflows …` does, against a hub.

Owns their names, options and requests. Rendering is `render.py`'s; failures are `command.py`'s.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.exits import Stop
from hub.cli.options import remember
from hub.cli.patience import Wait, patience
from hub.cli.selection import Meta, Tags, metadata

_EXAMPLES = """\b
Examples:
  hub workflows list
  hub workflows trigger orders '{"count": 1}'
  hub workflows instances describe orders latest"""

app = typer.Typer(no_args_is_help=True, help="Manage the workflows of a running hub.", callback=remember, epilog=_EXAMPLES)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the workflow.", show_default=False)]
Page = Annotated[int, typer.Option("--page", min=1, help="Which page to show.")]
PerPage = Annotated[int | None, typer.Option("--per-page", min=1, max=100, help="How many to show on a page.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Without a terminal nobody is asked.")]


@command(app, "list")
async def list_workflows(call: Call, page: Page = 1, per_page: PerPage = None) -> None:
    """List the workflows, newest first."""
    answer = await call.client.get(page=page, per_page=per_page)
    found = sorted(answer.result, key=lambda item: str(item["created_on"]), reverse=True)
    if call.json:
        screen.show_json(found)
    elif not found:
        screen.note("There are no workflows in this account" if page == 1 else f"No workflows found on page {page}; try a smaller one")
    else:
        from hub.cli import render
        from hub.cli.words import Viewer

        screen.show(render.workflow_list(found, page, Viewer.here()))


@command(app, "describe")
async def describe(call: Call, name: Name) -> None:
    """Describe a workflow and its latest version."""
    found = (await call.client.get(name)).result
    versions = (await call.client.get(name, "versions")).result
    latest = versions[0] if versions else None
    if call.json:
        screen.show_json({**found, "latest_version": latest})
        return
    from hub.cli import render

    screen.show(render.workflow(found, latest))


@command(app, "delete")
async def delete(call: Call, name: Name, yes: Yes = False) -> None:
    """Delete a workflow and all its instances."""
    confirm(f'Delete the workflow "{name}" and all its instances?', yes)
    answer = await call.client.delete(name)
    if call.json:
        screen.show_json(answer.result)
        return
    screen.show(
        [
            f'✅ Workflow "{screen.safe(name)}" removed successfully. ',
            " It comes back, without instances, when a hub starts whose hub.toml has it.",
        ]
    )


@command(app, "trigger")
async def trigger(
    call: Call,
    name: Name,
    params: Annotated[
        str | None, typer.Argument(metavar="PARAMS", help="What the instance gets as payload: a JSON text.", show_default=False)
    ] = None,
    id: Annotated[str | None, typer.Option("--id", help="Id of the instance; else the hub makes one.", show_default=False)] = None,
    input: Annotated[
        str | None, typer.Option("--input", metavar="@FILE|-", help="Read PARAMS from a file or from standard input.", show_default=False)
    ] = None,
    tag: Tags = None,
    meta: Meta = None,
    idempotent: Annotated[
        bool, typer.Option("--idempotent", help="If the instance --id was created with the same PARAMS already, all is well.")
    ] = False,
    wait: Wait = None,
) -> None:
    """Create an instance of a workflow."""
    from hub.cli import payloads

    text = payloads.one_json(params, "PARAMS", input)
    if wait is not None:
        patience(wait)  # a slip of the finger creates nothing
    fields = [f'"instance_id":{json.dumps(id)}'] if id is not None else []
    if text is not None:
        fields.append(f'"params":{payloads.as_params(text)}')
    labels = {"tags": tag, "metadata": metadata(meta), "idempotent": idempotent}
    fields += [f'"{key}":{json.dumps(value)}' for key, value in labels.items() if value]
    answer = await call.client.post(name, "instances", body=f"{{{','.join(fields)}}}")
    told = f'🚀 Workflow instance "{answer.result["id"]}" has been queued successfully'
    if answer.result.get("duplicate"):
        told = f'Workflow instance "{answer.result["id"]}" exists already, with the same params; it is {answer.result["status"]}'
    if wait is not None:
        from hub.cli.waiting import to_the_end

        screen.note(told)
        await to_the_end(call, name, str(answer.result["id"]), wait)
    elif call.json:
        screen.show_json(answer.result)
    else:
        screen.show([screen.safe(told)])


def confirm(question: str, yes: bool) -> None:
    """Ask before something is lost; without a terminal nobody is asked."""
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not typer.confirm(question, err=True):
        raise Stop("nothing was deleted; answer y, or give --yes, to delete")
