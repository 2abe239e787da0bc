"""`hub run`: one instance of a workflow, executed in this process, with every door closed.

Owns the way from the command line to an instance and back to an exit code. The instance is like every other one, on the store of the
project: what is recorded is kept, so that an interrupted one goes on later, here or in a hub. What else is due there goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from typing import Any

from hub.api.describe import describe_instance
from hub.app import App
from hub.cli import logs, payloads, screen
from hub.cli.exits import Exit, Stop
from hub.cli.program import command
from hub.cli.story import Watching
from hub.cli.waiting import show_end
from hub.core.errors import ConfigError, Conflict, HubError, NotFound, StoreInUse
from hub.core.model import FINAL, Instance, Status
from hub.core.outside import parse_json
from hub.core.ports import CreateRequest
from hub.engine.embedded import EmbeddedEngine
from hub.order import Order
from hub.process import Signals, loop_factory, tune_garbage_collection
from hub.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """What the command line asks for. `payload` and `input` are as they were typed; at most one of them is given."""

    order: Order
    workflow: str
    payload: str | None = None
    input: str | None = None
    id: str | None = None
    json: bool = False


def run(order: RunOrder) -> Exit:
    """Run an instance to its end, or to Ctrl-C. Its output goes to stdout, all else to stderr."""
    try:
        text = payloads.one_json(order.payload, "JSON", order.input)
        settings = order.order.settings()
        tune_garbage_collection()
        with contextlib.redirect_stdout(sys.stderr), asyncio.Runner(loop_factory=loop_factory()) as runner:  # steps may print
            ended = runner.run(_run(order, settings, {} if text is None else parse_json(text)))
        if ended is None:
            return Exit.INTERRUPTED
        show_end(order.workflow, ended, json=order.json)
    except Stop as stop:
        screen.complain(stop.message)
        return stop.exit_code
    except StoreInUse as error:
        screen.complain(_in_use(order, error))
        return Exit.CONFLICT
    except HubError as error:
        screen.complain(error.message)
        return _code(error)
    return Exit.OK


def _code(error: HubError) -> Exit:
    if isinstance(error, ConfigError):
        return Exit.USAGE
    if isinstance(error, NotFound):
        return Exit.NOT_FOUND
    return Exit.CONFLICT if isinstance(error, Conflict) else Exit.FAILED


def _in_use(order: RunOrder, error: StoreInUse) -> str:
    return (
        f"a hub runs on this project already, process {error.owner}; let that one do it: "
        f"{command()} workflows trigger {order.workflow} --wait\nor give this run a folder of its own with --data DIR"
    )


async def _run(order: RunOrder, settings: Settings, payload: Any) -> dict[str, Any] | None:
    """Return the instance as REST describes it once it has ended, or cannot go on by itself; None when it was interrupted."""
    with Signals("parking the instance; once more to stop at once") as signals:
        app = App(settings, doors=False)
        found: Instance | None = None
        try:
            with Watching(order.workflow) as view:
                logs.configure(settings.log.level, settings.log.format, sys.stderr)
                if not await signals.unless_stopped(app.start()):
                    return None
                found = await _begin(app.engine, order, payload)
                view.title = f"{found.workflow} {found.id}"
                await signals.unless_stopped(_follow(app.engine, found, view))
                ended = await _end(app.engine, found)
        finally:
            await app.stop()
        if ended["status"] not in FINAL and signals.stop.is_set():
            screen.note(_parked(order, found))
            return None
        return ended


async def _begin(engine: EmbeddedEngine, order: RunOrder, payload: Any) -> Instance:
    """Return the instance with the wanted id if it has not ended, else a new one. Raises: Conflict (it has ended), NotFound, Rejected."""
    if order.id is not None:
        with contextlib.suppress(NotFound):
            found = await engine.instance(order.workflow, order.id)
            if found.status in FINAL:
                raise Conflict(
                    f'the instance "{found.id}" of {found.workflow} has ended already ({found.status}); choose another --id'
                )
            screen.note(f"{found.workflow} {found.id} goes on ({found.status}); its payload is the one that it began with")
            return found
    created = await engine.create(CreateRequest(workflow=order.workflow, params=payload, id=order.id))
    return await engine.instance(created.workflow, created.id)


async def _follow(engine: EmbeddedEngine, instance: Instance, view: Watching) -> None:
    """Show what happens until the instance has ended, or is paused and nobody here could resume it."""
    async for event in await engine.subscribe(instance.workflow, instance.id):
        view.tell(event.shown())
        if event.type == "wait_started":
            wanted = event.fields["eventType"]
            view.note(
                f'waits for the event "{wanted}", which cannot reach this process: Ctrl-C, then `{command()} dev` and '
                f"`{command()} workflows instances send-event {instance.workflow} {instance.id} --type {wanted}`"
            )
        if event.type == "workflow_paused" and (await engine.instance(instance.workflow, instance.id)).status is Status.PAUSED:
            return


async def _end(engine: EmbeddedEngine, instance: Instance) -> dict[str, Any]:
    return dict(describe_instance(await engine.describe(instance.workflow, instance.id), simple=True))


def _parked(order: RunOrder, instance: Instance) -> str:
    folder = order.order.project
    return (
        f"{instance.workflow} {instance.id} is parked, with all that it has done; it goes on with "
        f"`{command()} run {instance.workflow} --id {instance.id} --project {folder}`, or as soon as a hub runs: `{command()} dev {folder}`"
    )
