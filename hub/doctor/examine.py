"""Carrying out all checks, and telling what they found: one line each as soon as it is known, and what to do beneath it.

A check that fails by itself is a failed check and not the end of the others. Exit code 1 says that something has to be mended.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hub.cli import screen
from hub.cli.exits import Exit
from hub.core.errors import ConfigError, HubError
from hub.doctor import machine, network, postgres, project, store
from hub.doctor.checks import Case, Checks, Result, State, fail
from hub.order import Order
from hub.settings import Settings
from hub.store import care, store_for

if TYPE_CHECKING:
    from hub.store.contents import Contents
    from hub.store.postgres_care import Server

_SIGNS = {State.OK: ("✅", ""), State.WARN: ("⚠️ ", "yellow"), State.FAIL: ("❌", "red"), State.SKIP: ("· ", "dim")}
CHECKS: Checks = (*machine.CHECKS, *project.CHECKS, *store.CHECKS, *postgres.CHECKS, *network.CHECKS)


def examine(order: Order, *, as_json: bool) -> Exit:
    """Carry out all checks; the result is data on stdout."""
    sys.path.insert(0, str(order.project.resolve()))  # a project may bring kinds of its own
    found: list[tuple[str, Result]] = []
    for name, result in results(order):
        found.append((name, result))
        if not as_json:
            _show(name, result)
    counts = Counter(result.state for _, result in found)
    if as_json:
        listed = [{"name": name, "state": each.state.value, "found": each.found, "remedy": each.remedy} for name, each in found]
        screen.show_json({"ok": not counts[State.FAIL], "counts": {state.value: counts[state] for state in State}, "checks": listed})
    else:
        screen.show(["", f"{len(found)} checks: " + ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])])
    return Exit.FAILED if counts[State.FAIL] else Exit.OK


def results(order: Order) -> Iterator[tuple[str, Result]]:
    """Yield each check's name and result, one after the other."""
    case = take(order)
    for name, check in CHECKS:
        with contextlib.redirect_stdout(sys.stderr):  # the project's code may print
            result = _result(check, case)
        yield name, result


def _result(check: Callable[[Case], Result], case: Case) -> Result:
    try:
        return check(case)
    except Exception as error:  # whatever it is: the others are still worth knowing
        return fail(f"the check itself failed: {type(error).__name__}: {error}", "tell the authors of the hub")


def take(order: Order) -> Case:
    """Gather what the checks look at. Changes nothing and never raises what a check can tell."""
    now = datetime.now(UTC)
    settings: Settings | None = None
    mistake = unreadable = ""
    try:
        settings = order.settings()
    except ConfigError as error:
        mistake = error.message
    file: Path | None = None if settings is None else care.file_of(settings.store.url)
    contents = owner = server = None
    if file is not None and file.exists():
        try:
            owner, contents = care.owner(file), care.contents(file, now)
        except (HubError, OSError) as error:
            unreadable = error.message if isinstance(error, HubError) else str(error)
    if settings is not None and file is None:
        try:
            server, contents = _looked(settings.store.url, now)
            owner = next((name for name in server.alive if name.endswith(f" on {socket.gethostname()}")), None)
        except ConfigError as error:
            unreadable = error.message
    return Case(
        order=order, now=now, settings=settings, mistake=mistake, file=file, contents=contents, server=server, unreadable=unreadable,
        owner=owner,
    )  # fmt: skip


def _looked(url: str, now: datetime) -> tuple[Server, Contents]:
    """Look at a PostgreSQL server and into its database. Raises: ConfigError."""
    store_for(url)  # says what to install where the driver is missing
    from hub.store import postgres_care

    return asyncio.run(postgres_care.look(url, now))


def _show(name: str, result: Result) -> None:
    from rich.text import Text

    sign, style = _SIGNS[result.state]
    column = "\n" + " " * 17
    line = Text.assemble(f"{sign} ", (f"{name:<13} ", "bold"), (screen.safe(result.found).replace("\n", column), style))
    if result.remedy:
        line.append(f"{column}→ {screen.safe(result.remedy)}".replace("\n→", "\n →"), style="cyan")
    screen.show([line])
