"""The `hub` program: the client commands of `hub.cli`, and beside them the commands that run a hub.

Sits on the root floor because these need the composition root, which the command line's own floor may not see. Their modules
are imported when the command runs, so that `hub --help` and the client commands never wait for them.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli import completion, tokens
from hub.cli.main import app

if TYPE_CHECKING:
    from hub.cli.tokens import TokenPlace
    from hub.database import Place

Project = Annotated[Path, typer.Argument(metavar="PROJECT", help="Folder with hub.toml.")]
Host = Annotated[str | None, typer.Option("--host", metavar="HOST", help="Address to listen on; else [server] host.", show_default=False)]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on, 0 = a free one; else [server] port.", show_default=False)
]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder of the SQLite file; else PROJECT/.hub.", show_default=False)
]
Roles = Annotated[
    str | None, typer.Option("--roles", metavar="ROLES", help="What this node does: intake,run or one of them.", show_default=False)
]
Workflows = Annotated[
    str | None, typer.Option("--workflows", metavar="NAMES", help="Execute instances of these workflows only: a,b.", show_default=False)
]
Folder = Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder with hub.toml.")]
File = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="This database, instead of the project's.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_SETTINGS = """\b
Every setting may come from a flag, else from its environment variable
(HUB_SERVER_PORT, HUB_SERVER_TOKEN, HUB_STORE_URL, …), else from hub.toml.
To serve other machines: hub tokens create, then --host 0.0.0.0"""

_OUTCOMES = """\b
Exit codes:
  0    complete: the output is on stdout
  5    a hub runs on this project already, or the id is one that has ended
  6    errored
  7    terminated
  8    paused: it cannot go on by itself
  130  interrupted by Ctrl-C: it is parked, and goes on with --id or in a hub"""


_DATABASE = """\b
Examples:
  hub db backup
  hub db check --file hub-20260101T030000Z.sqlite
To restore a backup: stop the hub, remove hub.sqlite-wal and hub.sqlite-shm
from its folder, and put the copy in place of hub.sqlite.
A PostgreSQL database is copied with pg_dump, and restored with pg_restore."""


@app.command("serve", epilog=_SETTINGS)
def serve(
    project: Project = Path(),
    host: Host = None,
    port: Port = None,
    data: Data = None,
    roles: Roles = None,
    workflows: Workflows = None,
) -> None:
    """Run a hub with the project in a folder.

    It runs until Ctrl-C or SIGTERM. What has not ended then goes on at the next start; so does what a crash interrupts.
    """
    from hub import serve as node
    from hub.order import Order

    raise typer.Exit(node.serve(Order(project=project, host=host, port=port, data=data, roles=roles, workflows=workflows)))


@app.command("dev", epilog=_SETTINGS)
def dev(project: Project = Path(), host: Host = None, port: Port = None, data: Data = None) -> None:
    """Run a hub that reloads its project after every save.

    It tells what to try first, and runs until Ctrl-C. Instances go on after a reload, with the new code.
    """
    from hub import serve as node
    from hub.order import Order

    raise typer.Exit(node.dev(Order(project=project, host=host, port=port, data=data)))


@app.command("run", epilog=_OUTCOMES)
def run(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Name of the workflow.", show_default=False)],
    payload: Annotated[str | None, typer.Argument(metavar="JSON", help="What the instance gets as payload.", show_default=False)] = None,
    project: Folder = Path(),
    id: Annotated[
        str | None, typer.Option("--id", help="Id of the instance; one that has not ended goes on.", show_default=False)
    ] = None,
    input: Annotated[
        str | None, typer.Option("--input", metavar="@FILE|-", help="Read JSON from a file or from standard input.", show_default=False)
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Run one instance of a workflow in this process.

    Its output goes to stdout, its steps to stderr. No hub is needed: no port is opened and no trigger started. Every step is recorded as
    in a hub, so that Ctrl-C, a crash or a kill only interrupts it.
    """
    from hub import run as runs
    from hub.order import Order

    order = Order(project=project, data=data)
    raise typer.Exit(runs.run(runs.RunOrder(order=order, workflow=workflow, payload=payload, input=input, id=id, json=json)))


db = typer.Typer(no_args_is_help=True, help="Look after the database of a project.", epilog=_DATABASE)
app.add_typer(db, name="db")


def _place(project: Path, data: Path | None, file: Path | None, json: bool) -> Place:
    from hub.database import Place
    from hub.order import Order

    return Place(order=Order(project=project, data=data), file=file, json=json)


@db.command("backup")
def db_backup(
    target: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The new file; else hub-TIME.sqlite here.", show_default=False)
    ] = None,
    project: Folder = Path(),
    data: Data = None,
    file: File = None,
    json: Json = False,
) -> None:
    """Copy the database, also while a hub works on it.

    The copy is the database as it was at one moment, in one file.
    """
    from hub import database

    raise typer.Exit(database.back_up(_place(project, data, file, json), target))


@db.command("check")
def db_check(project: Folder = Path(), data: Data = None, file: File = None, json: Json = False) -> None:
    """Check that the database holds together.

    The rules that the hub keeps, and SQLite's own check of a file. It changes nothing, and a hub may work meanwhile.
    """
    from hub import database

    raise typer.Exit(database.check(_place(project, data, file, json)))


@db.command("upgrade")
def db_upgrade(project: Folder = Path(), data: Data = None, file: File = None, json: Json = False) -> None:
    """Bring the database to the schema of this hub.

    A hub does that when it starts alone, too; a backup before it is a good
    idea. On PostgreSQL it is the last step of an upgrade node by node: it
    removes what older versions need, and refuses while a node of one is alive.
    """
    from hub import database

    raise typer.Exit(database.upgrade(_place(project, data, file, json)))


@app.command("doctor")
def doctor(project: Project = Path(), host: Host = None, port: Port = None, data: Data = None, json: Json = False) -> None:
    """Look at all that a hub needs, and say what to do.

    The machine, the project, its database and what it connects to. It changes nothing, and a hub may run meanwhile. Exit code 1 says that
    something has to be mended before the hub can do its work.
    """
    from hub.doctor.examine import examine
    from hub.order import Order

    raise typer.Exit(examine(Order(project=project, host=host, port=port, data=data), as_json=json))


app.command("completion", epilog=completion.EXAMPLES)(completion.completion)
@asynccontextmanager
async def _on_store(project: Path) -> AsyncIterator[TokenPlace]:
    from hub.tokens import on_store

    async with on_store(project) as tokens:
        yield tokens


app.add_typer(tokens.group(_on_store), name="tokens")

config = typer.Typer(no_args_is_help=True, help="Look at the settings of a project.")
app.add_typer(config, name="config")


@config.command("show", epilog=_SETTINGS)
def config_show(
    project: Project = Path(),
    origin: Annotated[bool, typer.Option("--origin", help="Say where each one came from.")] = False,
    host: Host = None,
    port: Port = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show every setting that is in effect.

    Those of the file, of variables and of flags, and all defaults. Secrets are shown as ***.
    """
    from hub import config_show
    from hub.order import Order

    raise typer.Exit(config_show.show(Order(project=project, host=host, port=port, data=data), origin=origin, as_json=json))


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # an emoji must not end a command where the terminal cannot show it
    app(prog_name="hub")


if __name__ == "__main__":
    main()
