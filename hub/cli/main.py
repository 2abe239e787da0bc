"""The `hub` command: its groups and what its help says.

Owns the tree of commands that need nothing but a hub's address (and `init`). The commands that run a hub are added by the composition
root, because only that may see the whole house. Importing this must stay cheap: `hub --help` is to be there in 0.3 seconds, so every
heavy import sits inside the function that needs it.
"""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from hub.cli import audit, deliveries, instances, nodes, project, queues, triggers, versions, workflows
from hub.cli import bulk as _bulk  # noqa: F401  # adds its command to those of instances
from hub.cli import instance_logs as _instance_logs  # noqa: F401  # so does this
from hub.cli.exits import MEANINGS
from hub.cli.options import Account, Token, Url, remember


def _markup() -> Literal["rich"] | None:
    """Coloured help on a terminal; plain, quick text in a pipe."""
    return "rich" if sys.stdout.isatty() else None


def _epilog() -> str:
    start = "A first project:\n  hub init orders\n  hub dev orders"
    codes = "Exit codes:\n" + "\n".join(f"  {code.value:<3}  {meaning}" for code, meaning in MEANINGS.items())
    return f"\b\n{start}\n\n\b\n{codes}"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"hub {version('trigger-hub')}")
        raise typer.Exit


app = typer.Typer(no_args_is_help=True, rich_markup_mode=_markup(), pretty_exceptions_enable=False, epilog=_epilog())


@app.callback()
def hub(
    ctx: typer.Context,
    url: Url = None,
    token: Token = None,
    account: Account = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """Turn triggers into durable workflows, on your own machine."""
    remember(ctx, url, token, account)


workflows.app.add_typer(instances.app, name="instances")
workflows.app.add_typer(versions.app, name="versions")
app.add_typer(workflows.app, name="workflows")
app.add_typer(triggers.app, name="triggers")
app.add_typer(deliveries.app, name="deliveries", short_help="Look at what created no instance, and replay it.")
app.add_typer(queues.app, name="queues")
app.add_typer(nodes.app, name="nodes")
app.add_typer(audit.app, name="audit")
app.command("init")(project.init)
