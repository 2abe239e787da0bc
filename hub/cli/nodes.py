"""The commands `hub nodes …`: which nodes share the store, whether they live, and how much each has to do."""

from __future__ import annotations

from typing import Any

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.options import remember
from hub.cli.workflows import Page, PerPage

_EXAMPLES = """\b
Examples:
  hub nodes list
  hub nodes list --json"""

app = typer.Typer(no_args_is_help=True, help="Look at the nodes that share the store.", callback=remember, epilog=_EXAMPLES)


@command(app, "list")
async def list_nodes(call: Call, page: Page = 1, per_page: PerPage = 50) -> None:
    """List the nodes with their leases and their load."""
    found = (await call.client.of("nodes").get(page=page, per_page=per_page)).result
    if call.json:
        screen.show_json(found)
        return
    from hub.cli.render import Listing
    from hub.cli.words import Viewer

    viewer = Viewer.here()
    columns = ["Node", "State", "Instances", "Roles", "Workflows", "Process", "Address", "Started"]
    screen.show([Listing(columns, [_row(item, viewer) for item in found], spare="Workflows")])


def _row(item: dict[str, Any], viewer: Any) -> list[Any]:
    from rich.text import Text

    state = "alive" if item["alive"] else "lost" if item.get("lease_until") else "stopped"
    return [
        Text(str(item["id"]), style="bold"),
        state,
        f"{item['instances']} of {item['slots']}",
        ", ".join(item["roles"]),
        screen.safe(", ".join(item["workflows"])),
        screen.safe(f"{item['pid']} on {item['host']}"),
        screen.safe(item["url"] or ""),
        viewer.moment(item["started_on"]),
    ]
