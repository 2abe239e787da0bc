"""The options that every client command has: which hub, which token, which account, JSON or not.

Owns their names, their order of precedence (the command's own option, then the group's, then the environment, then the default) and
their validation. Never opens a connection. The environment is read when a command runs, not when the module is imported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

import typer

from hub.cli.exits import Exit, Stop

DEFAULT_URL = "http://127.0.0.1:8787"
DEFAULT_ACCOUNT = "local"

Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help=f"Address of the hub; else HUB_URL, else {DEFAULT_URL}.", show_default=False),
]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="TOKEN", help="Token of the hub; else HUB_TOKEN.", show_default=False),
]
Account = Annotated[
    str | None,
    typer.Option("--account", metavar="NAME", help=f"Account; else HUB_ACCOUNT, else {DEFAULT_ACCOUNT}.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the API's result as JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command line says about the hub; None = nothing."""

    url: str | None = None
    token: str | None = None
    account: str | None = None

    def over(self, outer: Given) -> Given:
        """Return these options, completed by those of the group around."""
        return Given(url=self.url or outer.url, token=self.token or outer.token, account=self.account or outer.account)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The hub that a command talks to. `url` has no trailing slash; an empty token means none."""

    url: str
    token: str
    account: str


def remember(ctx: typer.Context, url: Url = None, token: Token = None, account: Account = None) -> None:
    """Keep a group's options for the commands below it."""
    outer = ctx.obj if isinstance(ctx.obj, Given) else Given()
    ctx.obj = Given(url=url, token=token, account=account).over(outer)


def target(given: Given) -> Target:
    """Complete the command line from the environment and the defaults.

    Raises: Stop (usage) when the address is not one of HTTP.
    """
    url = given.url or os.environ.get("HUB_URL") or DEFAULT_URL
    if not url.startswith(("http://", "https://")) or len(url.split("://", 1)[1]) == 0:
        where = "--url" if given.url else "HUB_URL"
        raise Stop(f'{where}: "{url}" is not an address of a hub; write it like {DEFAULT_URL}', Exit.USAGE)
    return Target(
        url=url.rstrip("/"),
        token=given.token or os.environ.get("HUB_TOKEN") or "",
        account=given.account or os.environ.get("HUB_ACCOUNT") or DEFAULT_ACCOUNT,
    )
