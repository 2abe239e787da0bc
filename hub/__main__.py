"""The `hub` program: the client commands of `hub.cli`, and beside them the commands that run a hub.

Sits on the root floor because `serve` and `dev` need the composition root, which the command line's own floor may not see. Their modules
are imported when the command runs, so that `hub --help` and the client commands never wait for them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hub.cli.main import app

Project = Annotated[Path, typer.Argument(metavar="PROJECT", help="Folder with hub.toml.")]
Host = Annotated[str | None, typer.Option("--host", metavar="HOST", help="Address to listen on; else [server] host.", show_default=False)]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on, 0 = a free one; else [server] port.", show_default=False)
]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder of the SQLite file; else PROJECT/.hub.", show_default=False)
]


_SETTINGS = """\b
Every setting may come from a flag, else from its environment variable
(HUB_SERVER_PORT, HUB_SERVER_TOKEN, HUB_STORE_URL, …), else from hub.toml.
To serve other machines: HUB_SERVER_TOKEN=… and --host 0.0.0.0"""


@app.command("serve", epilog=_SETTINGS)
def serve(project: Project = Path(), host: Host = None, port: Port = None, data: Data = None) -> None:
    """Run a hub with the project in a folder.

    It runs until Ctrl-C or SIGTERM. What has not ended then goes on at the next start; so does what a crash interrupts.
    """
    from hub import serve as node

    raise typer.Exit(node.serve(node.Order(project=project, host=host, port=port, data=data)))


@app.command("dev", epilog=_SETTINGS)
def dev(project: Project = Path(), host: Host = None, port: Port = None, data: Data = None) -> None:
    """Run a hub that reloads its project after every save.

    It tells what to try first, and runs until Ctrl-C. Instances go on after a reload, with the new code.
    """
    from hub import serve as node

    raise typer.Exit(node.dev(node.Order(project=project, host=host, port=port, data=data)))


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # an emoji must not end a command where the terminal cannot show it
    app(prog_name="hub")


if __name__ == "__main__":
    main()
