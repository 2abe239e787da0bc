"""The commands `hub tokens …`: make, list and revoke tokens, on a running hub or, where none runs, on the project's own store.

Owns their names, options and words. The first token of a project needs no hub: `--project DIR` works on its database, which only the
composition root may open; it hands that in as `OnStore`. A new token's text is all that goes to stdout, so that a shell can take it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.exits import Exit, Stop, Unreachable
from hub.cli.options import remember

if TYPE_CHECKING:
    from hub.cli.client import Client

_EXAMPLES = """\b
Examples:
  hub tokens create admin --scope admin --project .
  hub tokens create ci --scope read --scope trigger --expires 30d
  hub tokens revoke ID"""

Json = dict[str, Any]


class Scopes(StrEnum):
    """What a token may be good for."""

    READ = "read"
    TRIGGER = "trigger"
    CONTROL = "control"
    PAYLOADS = "payloads"
    ADMIN = "admin"


class TokenPlace(Protocol):
    """Where tokens are: each method returns what the REST API does. Raises: Stop."""

    async def create(self, name: str, scopes: list[str], expires_on: datetime | None) -> Json: ...
    async def list(self) -> list[Json]: ...
    async def revoke(self, id: str) -> Json: ...


OnStore = Callable[[Path], AbstractAsyncContextManager[TokenPlace]]
Opens = Callable[[Call, Path | None], AbstractAsyncContextManager[TokenPlace]]

Project = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help="Work on the database of this project, while no hub runs on it.", show_default=False),
]


def group(on_store: OnStore) -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(no_args_is_help=True, help="Make tokens, list and revoke them.", callback=remember, epilog=_EXAMPLES)

    @asynccontextmanager
    async def place(call: Call, project: Path | None) -> AsyncIterator[TokenPlace]:
        if project is None:
            yield _OverRest(call.client.of("tokens"))
        else:
            async with on_store(project) as stored:
                yield stored

    _add_create(app, place)
    _add_list(app, place)
    _add_revoke(app, place)
    return app


def _add_create(app: typer.Typer, place: Opens) -> None:
    @command(app, "create")
    async def create(
        call: Call,
        name: Annotated[str, typer.Argument(metavar="NAME", help="Who uses it, such as `ci`.", show_default=False)],
        scope: Annotated[
            list[Scopes], typer.Option("--scope", help="What it opens; may be repeated. admin opens everything.", show_default=False)
        ],
        expires: Annotated[
            str | None,
            typer.Option("--expires", metavar="TIME", help="30d, 12h, or a date (ISO 8601); else never.", show_default=False),
        ] = None,
        project: Project = None,
    ) -> None:
        """Make a token and print it, this once.

        The first one closes the hub for everybody without a token; it must have the scope admin.
        """
        expires_on = None if expires is None else _end(expires, datetime.now(UTC))
        async with place(call, project) as tokens:
            made = await tokens.create(name, [each.value for each in scope], expires_on)
        if call.json:
            screen.show_json(made)
            return
        screen.show([made["value"]])
        until = f", until {made['expires_on']}" if made["expires_on"] else ""
        screen.note(f"Token {made['id']} ({name}) may {', '.join(made['scopes'])}{until}. It is not shown again.")


def _add_list(app: typer.Typer, place: Opens) -> None:
    @command(app, "list")
    async def list_tokens(call: Call, project: Project = None) -> None:
        """List all tokens, newest first."""
        async with place(call, project) as tokens:
            found = await tokens.list()
        if call.json:
            screen.show_json(found)
        elif not found:
            screen.note("There are no stored tokens")
        else:
            from hub.cli import render_access
            from hub.cli.words import Viewer

            screen.show(render_access.token_list(found, Viewer.here()))


def _add_revoke(app: typer.Typer, place: Opens) -> None:
    @command(app, "revoke")
    async def revoke(
        call: Call,
        ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of tokens, as `list` shows them.", show_default=False)],
        project: Project = None,
    ) -> None:
        """Revoke tokens: they open nothing from now on."""
        async with place(call, project) as tokens:
            gone = [await tokens.revoke(id) for id in ids]
        if call.json:
            screen.show_json(gone)
        else:
            screen.show([f"🔒 Revoked {token['id']} ({screen.safe(token['name'])})" for token in gone])


class _OverRest:
    """The tokens of a running hub."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, name: str, scopes: list[str], expires_on: datetime | None) -> Json:
        body = {"name": name, "scopes": scopes, "expires_on": None if expires_on is None else expires_on.isoformat()}
        with _told_other_way():
            made: Json = (await self._client.post(body=json.dumps(body))).result
        return made

    async def list(self) -> list[Json]:
        with _told_other_way():
            found: list[Json] = (await self._client.get()).result
        return found

    async def revoke(self, id: str) -> Json:
        with _told_other_way():
            gone: Json = (await self._client.delete(id)).result
        return gone


class _told_other_way:  # noqa: N801  # used as a function
    """Say of a hub that cannot be reached that the project's own store may do."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Unreachable):
            raise Stop(f"{error.message}; where no hub runs, work on the project: --project DIR", error.exit_code) from None


def _end(text: str, now: datetime) -> datetime:
    """Read when a token ends: a span from now on, or a moment. Raises: Stop (usage)."""
    from hub.core.duration import parse_short

    try:
        if text[:4].isdecimal() and "-" in text:
            moment = datetime.fromisoformat(text)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return now + parse_short(text)
    except (ValueError, OverflowError):
        raise Stop(f'--expires: "{text}" is no time; write 30d, 12h, "6 weeks", or a date like 2027-01-31', Exit.USAGE) from None
