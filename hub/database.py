"""`hub db …`: bring a database to the newest schema, copy it, and check that it holds together.

Owns the way from the command line to the file, and what is shown of long work; all that concerns the database itself is `hub.store.care`'s.
A copy and a check may be made while a hub works; only an upgrade needs a file for itself, or a PostgreSQL database without older nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hub.cli import screen
from hub.cli.exits import Exit
from hub.cli.program import command
from hub.cli.progress import shown_progress
from hub.core.errors import ConfigError, HubError
from hub.order import Order
from hub.store import care, store_for
from hub.store.address import shown
from hub.store.invariants import RULES
from hub.store.schema import NEWEST

_DUMP = "PostgreSQL's own tools: pg_dump --format=custom --file=hub.dump ADDRESS, and back with pg_restore --clean --if-exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which database: that of a project, or a file of any name, such as a backup."""

    order: Order
    file: Path | None = None
    json: bool = False

    def path(self) -> Path:
        """Return the file. Raises: ConfigError."""
        if self.file is not None:
            return self.file
        url = self.order.settings().store.url
        path = care.file_of(url)
        if path is None:
            raise ConfigError(f"{shown(url)} is no file: copy it with {_DUMP}", path="store.url")
        return path


def upgrade(place: Place) -> Exit:
    """Bring the database to the schema of this hub; older hubs that run on it refuse, on an SQLite file every hub."""

    def act() -> Exit:
        url = f"sqlite:///{place.file}" if place.file else place.order.settings().store.url
        path = care.file_of(url)
        if path is not None and not path.is_file():
            raise ConfigError(f"there is no database {path}; a hub makes it when it starts, with the newest schema")
        name = str(path or urlsplit(url).path.lstrip("/"))
        with shown_progress() as progress:
            progress(f"to the schema {NEWEST}", 0, 0)
            before, after = asyncio.run(store_for(url).upgrade())
        told = {"file" if path else "database": name, "from": before, "to": after}
        words = "has the newest schema already" if before == after else f"was brought from the schema {before}"
        _show(place, told, f"{name} {words}: {after}")
        return Exit.OK

    return _told(act)


def back_up(place: Place, target: Path | None) -> Exit:
    """Copy the database into a new file, also while a hub works on it."""

    def act() -> Exit:
        path = place.path()
        copy = target or Path(f"{path.stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sqlite")
        with shown_progress() as progress:
            size = care.back_up(path, copy, progress)
        _show(place, {"file": str(copy), "bytes": size, "of": str(path)}, f"{path} was copied to {copy}, {_size(size)}")
        screen.note(f"to restore it: stop the hub, remove {path.name}-wal and {path.name}-shm, put the copy in place of {path.name}")
        return Exit.OK

    return _told(act)


def check(place: Place) -> Exit:
    """Check the database: SQLite's own check where it is a file, and the hub's rules."""

    def act() -> Exit:
        path = place.file or care.file_of(place.order.settings().store.url)
        with shown_progress() as progress:
            if path is None:
                name, rules, found = _checked_on_server(place.order.settings().store.url, progress)
            else:
                name, rules, found = str(path), len(RULES), care.check(path, progress)
        if place.json:
            listed = [{"rule": each.rule, "words": each.words, "rows": each.rows} for each in found]
            screen.show_json({"file" if path else "database": name, "ok": not found, "broken": listed})
        elif not found:
            screen.show([f"{name} holds together: {rules} rules"])
        for each in found:
            screen.complain(f"{each.rule}: {each.words}; but: {', '.join(each.rows)}")
        if found and path is None:
            screen.note(f"copy it before anything else, with {_DUMP}; then restore a backup")
        elif found and path:
            screen.note(f"copy {path.parent} away before anything else; then restore a backup (`{command()} db check --file BACKUP` first)")
        return Exit.FAILED if found else Exit.OK

    return _told(act)


def _checked_on_server(url: str, progress: care.Progress) -> tuple[str, int, list[care.Finding]]:
    store_for(url)  # says what to install where the driver is missing
    from hub.store import postgres_care

    return shown(url), postgres_care.number_of_rules(), asyncio.run(postgres_care.check(url, progress))


def _told(act: Callable[[], Exit]) -> Exit:
    try:
        return act()
    except KeyboardInterrupt:
        screen.note("interrupted; nothing was changed")
        return Exit.INTERRUPTED
    except HubError as error:
        screen.complain(error.message)
        return Exit.USAGE if isinstance(error, ConfigError) else Exit.FAILED


def _show(place: Place, told: dict[str, Any], words: str) -> None:
    if place.json:
        screen.show_json(told)
    else:
        screen.show([screen.safe(words)])


def _size(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size / (1 << 10):.0f} KiB"
