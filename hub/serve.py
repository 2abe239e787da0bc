"""`hub serve` and `hub dev`: one node of the hub as a process.

Owns what is around an `App`: settings from the command line, logging, the words on the screen, and in `dev` the restart after every saved
file. Never looks inside the app. Invariant: whatever ends the process on purpose has stopped the app first, so
nothing that was acknowledged waits in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.text import Text

from hub.app import App
from hub.cli import logs, screen
from hub.cli.exits import Exit
from hub.cli.program import command
from hub.cli.welcome import Cron, OtherTrigger, Webhook, Welcome, addresses, tries
from hub.cli.words import Viewer
from hub.core.errors import ConfigError, HubError
from hub.order import Order
from hub.plugins import calls, parse_options, trigger_class
from hub.process import Signals, loop_factory, tune_garbage_collection
from hub.project import forget
from hub.settings import Settings
from hub.triggering import cancelled_by

_GRACE = timedelta(milliseconds=250)  # for running steps in `dev`: serving again within a second of a save matters more
_IGNORED = frozenset({"__pycache__", "node_modules", "venv"})  # besides all folders whose name begins with a dot
_SUFFIXES = (".py", ".toml")
_QUIET_MS = 50  # editors write in several strokes; this long without another one ends a save


def serve(order: Order) -> Exit:
    """Run the hub until a signal asks it to stop."""
    return _run(order, _serve)


def dev(order: Order) -> Exit:
    """Run the hub, and again after every change of the project's files."""
    return _run(order, _dev)


def _run(order: Order, main: Callable[[Order, Settings], Coroutine[Any, Any, None]]) -> Exit:
    try:
        settings = order.settings()
        logs.configure(settings.log.level, settings.log.format)
        tune_garbage_collection()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(main(order, settings))
    except HubError as error:
        screen.complain(error.message)
        return Exit.USAGE if isinstance(error, ConfigError) else Exit.FAILED
    return Exit.OK


# ---- serve


async def _serve(order: Order, settings: Settings) -> None:
    with Signals() as signals:
        app = App(settings)
        if await signals.unless_stopped(app.start()):
            screen.show(addresses(_welcome(app), Viewer.here()))
            await signals.stop.wait()
        await app.stop()


# ---- dev


async def _dev(order: Order, settings: Settings) -> None:
    with Signals() as signals:
        async with _Watch(order.project) as watch:
            app = await _first(order, signals, settings)
            port = 0
            while await signals.unless_stopped(watch.changed.wait()):
                saved = watch.take()
                if app is not None:
                    port = urlsplit(app.url).port or port
                    await app.stop()
                forget(order.project)
                screen.note(f"{', '.join(saved)} changed: starting again")
                app = await _again(order, signals, port)
            if app is not None:
                await app.stop()


async def _first(order: Order, signals: Signals, settings: Settings) -> App | None:
    """Start the app for the first time, and tell what to try. Raises: HubError when no save of a file can help."""
    try:
        app = await _start(settings, signals)
    except ConfigError as error:
        if error.path.startswith(("server", "store")):
            raise
        _await_save(error, order)
        return None
    if app is not None:
        screen.show([*tries(_welcome(app)), Text(""), Text("Every saved file reloads the project. Ctrl-C stops the hub.", style="dim")])
    return app


async def _again(order: Order, signals: Signals, port: int) -> App | None:
    """Start the app after a save, at the same free port; a mistake is told and waits for the next one."""
    try:
        settings = order.settings()
        if settings.server.port == 0:
            settings = replace(settings, server=replace(settings.server, port=port))
        logs.configure(settings.log.level, settings.log.format)
        return await _start(settings, signals)
    except HubError as error:
        _await_save(error, order)
        return None


async def _start(settings: Settings, signals: Signals) -> App | None:
    app = App(_impatient(settings))
    if not await signals.unless_stopped(app.start()):
        await app.stop()
        return None
    screen.show(addresses(_welcome(app), Viewer.here()))
    return app


def _impatient(settings: Settings) -> Settings:
    """Give running steps little time when a file is saved; they run again after the reload."""
    return replace(settings, runner=replace(settings.runner, grace=min(settings.runner.grace, _GRACE)))


def _await_save(error: HubError, order: Order) -> None:
    screen.complain(f"{error.message}\nwaiting for the next save in {order.project}")


class _Watch:
    """Saved files of a project: `changed` is set when there are some, `take` names them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._saved: set[str] = set()
        self._end = asyncio.Event()
        self.changed = asyncio.Event()

    async def __aenter__(self) -> _Watch:
        self._task = asyncio.create_task(self._follow(), name="watch project files")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end.set()
        await self._task

    def take(self) -> list[str]:
        """Return the names of the saved files and forget them."""
        saved, self._saved = sorted(self._saved), set()
        self.changed.clear()
        return saved

    async def _follow(self) -> None:
        from watchfiles import awatch

        try:
            async for batch in awatch(self._folder, watch_filter=self._relevant, step=_QUIET_MS, stop_event=self._end):
                self._saved |= {str(Path(path).relative_to(self._folder)) for _, path in batch}
                self.changed.set()
        except OSError as error:
            screen.note(f"cannot watch {self._folder}: {error}; saved files are not noticed, start again after a change")

    def _relevant(self, _change: object, path: str) -> bool:
        parts = Path(path).relative_to(self._folder).parts
        return path.endswith(_SUFFIXES) and not any(part in _IGNORED or part.startswith(".") for part in parts)


# ---- what there is to say


def _welcome(app: App) -> Welcome:
    """Describe a started app, by its settings."""
    settings = app.settings
    webhooks: list[Webhook] = []
    crons: list[Cron] = []
    others: list[OtherTrigger] = []
    for spec in (each for each in settings.triggers if each.enabled):
        kind = trigger_class(spec.kind)
        target = spec.workflow or _beside_workflows(settings, spec.name, calls(kind))
        options: Any = parse_options(kind, spec.options, f"triggers.{spec.name}")
        if spec.kind == "http":
            webhooks.append(Webhook(method=options.methods[0], path=f"/hooks/{options.path or spec.name}", workflow=target))
        elif spec.kind == "cron":
            schedule: Any = kind(options)
            following = schedule.preview(datetime.now(UTC), 1)
            next_at = following[0].nominal if following else None
            crons.append(Cron(cron=options.cron, zone=options.timezone, workflow=target, next_at=next_at))
        else:
            others.append(OtherTrigger(kind=spec.kind, name=spec.name, workflow=target))
    return Welcome(
        name=settings.name,
        url=app.url,
        account=settings.account,
        command=command(),
        workflows=tuple(workflow.name for workflow in settings.workflows),
        fetches=app.fetches,
        secured=not app.engine.access.open,
        webhooks=tuple(webhooks),
        crons=tuple(crons),
        others=tuple(others),
    )


def _beside_workflows(settings: Settings, trigger: str, handler: str | None) -> str:
    """Say what the events of a trigger do that starts no workflow."""
    cancelled = cancelled_by(settings, trigger)
    return f"cancels {', '.join(cancelled)}" if cancelled else f"the handler {handler}"
