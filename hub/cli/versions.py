"""The commands `hub workflows versions …`: the versions of a workflow's code, each registered when the hub starts with changed code.

Owns their names, options and requests. Rendering is `render.py`'s; failures are `command.py`'s.
"""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.exits import Exit, Stop
from hub.cli.options import remember
from hub.cli.workflows import Name, Page, PerPage

app = typer.Typer(no_args_is_help=True, help="Look at the versions of a workflow's code.", callback=remember)

LATEST = "latest"


@command(app, "list")
async def list_versions(call: Call, name: Name, page: Page = 1, per_page: PerPage = None) -> None:
    """List the versions of a workflow, newest first."""
    found = (await call.client.get(name, "versions", page=page, per_page=per_page)).result
    if call.json:
        screen.show_json(found)
    elif not found:
        screen.note(f'There are no versions of workflow "{name}"' if page == 1 else f"No versions found on page {page}; try a smaller one")
    else:
        from hub.cli import render
        from hub.cli.words import Viewer

        screen.show(render.version_list(found, page, Viewer.here()))


@command(app, "describe")
async def describe(
    call: Call, name: Name, id: Annotated[str, typer.Argument(metavar="ID", help="Id of the version, or `latest`.")] = LATEST
) -> None:
    """Describe a version of a workflow."""
    found = await _latest(call, name) if id == LATEST else (await call.client.get(name, "versions", id)).result
    if call.json:
        screen.show_json(found)
        return
    from hub.cli import render

    screen.show(render.version(name, found))


async def _latest(call: Call, name: str) -> dict[str, object]:
    versions = (await call.client.get(name, "versions", per_page=1)).result
    if not versions:
        raise Stop(f'there are no versions of workflow "{name}"', Exit.NOT_FOUND)
    newest: dict[str, object] = versions[0]
    return newest
