"""What a check is, and what all of them look at. A check says how something is, and what to do where it is not well; it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from hub.order import Order
from hub.settings import Settings
from hub.store.contents import Contents

if TYPE_CHECKING:
    from hub.store.postgres_care import Server  # which needs the driver


class State(StrEnum):
    """How something is. `SKIP` = it cannot be told, because something else is not well."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a check has found. `remedy` says what to do; it is empty where all is well."""

    state: State
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the checks look at. `settings` are None where they are wrong, the file and its contents where there is none.

    A PostgreSQL database has contents and no file; its server is None where it was not reached.
    """

    order: Order
    now: datetime
    settings: Settings | None = None
    mistake: str = ""  # why there are no settings
    file: Path | None = None
    contents: Contents | None = None
    server: Server | None = None  # the PostgreSQL server that was reached
    unreadable: str = ""  # why there are no contents, though there is a file or a server
    owner: str | None = None  # the hub that has the file, or one on this machine that works on the database


Check = tuple[str, Callable[[Case], Result]]  # a name that never changes, and what looks
Checks = Sequence[Check]


def ok(found: str) -> Result:
    """Say that all is well."""
    return Result(state=State.OK, found=found)


def warn(found: str, remedy: str) -> Result:
    """Say that a hub runs, but that somebody should look at this."""
    return Result(state=State.WARN, found=found, remedy=remedy)


def fail(found: str, remedy: str) -> Result:
    """Say that a hub does not run, or does not keep its word, before this is mended."""
    return Result(state=State.FAIL, found=found, remedy=remedy)


def skip(found: str) -> Result:
    """Say that it cannot be told."""
    return Result(state=State.SKIP, found=found)
