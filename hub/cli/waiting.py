"""Waiting for an instance: what `--wait` does, and how its end becomes output and an exit code.

Owns the way back to a hub that was away for a moment. Reads only: who stops waiting changes nothing about the instance. The invariant: exit
code 0 means that what was waited for has come to pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from hub.cli import screen
from hub.cli.exits import Exit, Stop, of_outcome
from hub.cli.patience import patience
from hub.cli.program import command
from hub.cli.story import Watching

if TYPE_CHECKING:
    from hub.cli.command import Call

ENDED = frozenset({"complete", "errored", "terminated"})
_AWAY_S = 60.0  # how long a hub may be away (a reload, a restart) before the wait is given up
_AGAIN_S = 0.5  # between two attempts to reach it


async def to_the_end(call: Call, workflow: str, id: str, wait: str) -> None:
    """Wait until an instance has ended, show its output, and leave with the exit code of its end."""
    found = await until(call, workflow, id, wait, ENDED)
    show_end(workflow, found, json=call.json)


async def until(call: Call, workflow: str, id: str, wait: str, statuses: frozenset[str]) -> dict[str, Any]:
    """Return an instance as soon as it has one of these statuses, or has ended.

    Raises: Stop (unfinished) when the time is over; Stop when it is deleted, or the hub stays away.
    """
    limit = patience(wait)
    try:
        async with asyncio.timeout(None if limit is None else limit.total_seconds()):
            with Watching(f"{workflow} {id}") as view:
                return await _followed(call, workflow, id, view, statuses | ENDED)
    except TimeoutError:
        message = f'the instance "{id}" of {workflow} has not come so far in the time of --wait; it goes on: '
        raise Stop(f"{message}{command()} workflows instances tail {workflow} {id}", Exit.UNFINISHED) from None


async def _followed(call: Call, workflow: str, id: str, view: Watching, statuses: frozenset[str]) -> dict[str, Any]:
    """Show what happens; look at the instance itself whenever its status may have changed."""
    loop = asyncio.get_running_loop()
    cursor, reached = 0, loop.time()
    while True:
        try:
            async with aclosing(_events(call, workflow, id, cursor)) as events:
                async for event in events:
                    cursor, reached = int(event["eventId"]), loop.time()
                    view.tell(event)
                    if view.story.status in statuses and str(event["type"]).startswith("workflow_"):
                        found = await _read(call, workflow, id)
                        if found["status"] in statuses:
                            return found
            found = await _read(call, workflow, id)
            if found["status"] in statuses:
                return found
            reached = loop.time()
        except Stop as stop:
            if stop.exit_code is not Exit.FAILED or loop.time() - reached > _AWAY_S:
                raise
        await asyncio.sleep(_AGAIN_S)


async def _events(call: Call, workflow: str, id: str, cursor: int) -> AsyncGenerator[dict[str, Any]]:
    async for event in call.client.of("workflows").follow(workflow, "instances", id, "subscribe", cursor=cursor):
        yield event


async def _read(call: Call, workflow: str, id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await call.client.of("workflows").get(workflow, "instances", id, simple="true")).result
    return {"id": id, **found}


def show_end(workflow: str, found: dict[str, Any], *, json: bool) -> None:
    """Show how an instance has ended: its output on stdout, its error on stderr. Raises: Stop with the exit code of any other end."""
    status, id = str(found["status"]), found["id"]
    if json:
        screen.show_json(found)
    elif status == "complete":
        screen.show_json(found.get("output"))
    if status == "complete":
        return
    error = found.get("error") or {}
    if status == "errored":
        told = f'the instance "{id}" of {workflow} has errored: {error.get("name")}: {error.get("message")}'
    elif status == "terminated":
        told = f'the instance "{id}" of {workflow} was terminated'
    else:
        told = f'the instance "{id}" of {workflow} is {status}' + (f": {error['name']}: {error['message']}" if error else "")
    raise Stop(told, of_outcome(status))
