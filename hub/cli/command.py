"""From a coroutine to a command: common options, the event loop, the connection, and the way out.

Owns what all client commands share. A body gets a `Call` and says what to ask and what to show; it never handles a failure: every `Stop`
becomes one message on stderr and its exit code, and no traceback.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, get_type_hints

import typer

from hub.cli import screen
from hub.cli.exits import Exit, Stop
from hub.cli.options import Account, Given, Json, Target, Token, Url, target
from hub.cli.patience import WaitingCommand

if TYPE_CHECKING:
    from hub.cli.client import Client

P = ParamSpec("P")
Body = Callable[Concatenate["Call", P], Coroutine[Any, Any, None]]

_COMMON = {"url": Url, "token": Token, "account": Account, "json": Json}
_DEFAULTS = {"url": None, "token": None, "account": None, "json": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a command: the open connection, and whether the user wants JSON."""

    client: Client
    json: bool


def command(group: typer.Typer, name: str) -> Callable[[Body[P]], Body[P]]:
    """Register a coroutine function as a command of a group; its parameters after the `Call` are the command's own."""

    def register(body: Body[P]) -> Body[P]:
        waits = "wait" in inspect.signature(body).parameters
        group.command(name, cls=WaitingCommand if waits else None)(_runner(body))
        return body

    return register


def _runner(body: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    hints = get_type_hints(body, include_extras=True)
    own = [parameter.replace(annotation=hints[parameter.name]) for parameter in list(inspect.signature(body).parameters.values())[1:]]
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[name], annotation=kind) for name, kind in _COMMON.items()
    ]
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)

    def run(ctx: typer.Context, url: str | None, token: str | None, account: str | None, json: bool, **arguments: Any) -> None:
        outer = ctx.obj if isinstance(ctx.obj, Given) else Given()
        given = Given(url=url, token=token, account=account).over(outer)
        guarded(lambda: _perform(body, target(given), json, arguments))

    signature = inspect.Signature([context, *own, *common])
    run.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads instead of the code
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
    run.__doc__ = body.__doc__
    return run


def guarded(action: Callable[[], None]) -> None:
    """Run something; turn a `Stop`, or Ctrl-C, into its message and exit code."""
    try:
        action()
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    except Stop as stop:
        screen.complain(stop.message)
        raise typer.Exit(stop.exit_code) from None


def _perform(body: Callable[..., Coroutine[Any, Any, None]], hub: Target, json: bool, arguments: dict[str, Any]) -> None:
    import asyncio

    from hub.cli.client import Client

    async def perform() -> None:
        async with Client(hub) as client:
            await body(Call(client=client, json=json), **arguments)

    asyncio.run(perform())
