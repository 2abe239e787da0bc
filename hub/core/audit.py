"""The audit log: who has steered the hub, and who was refused. Values, and the port of whoever keeps it.

Invariant: an entry never holds a payload or a secret: it names a caller, an operation and a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from hub.core.model import Page

AUDIT_KEPT = timedelta(days=90)


class Ending(StrEnum):
    """How an audited request ended."""

    DONE = "done"
    REFUSED = "refused"  # by the rules of access: 401, 403
    FAILED = "failed"  # for a reason of its own, such as a workflow that does not exist


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line of the audit log: who wanted what, when, from where, and how it ended."""

    at: datetime
    caller: str  # name of the token, or `anybody`
    token: str | None  # id of the stored token
    remote: str | None  # address of the connection
    operation: str
    method: str
    target: str  # path of the request
    detail: str = ""  # JSON of what else was asked for, such as the verb
    ending: Ending
    status: int  # of HTTP
    code: str = ""  # of the error
    more: int = 0  # refused requests of the same token, or of strangers, before this one that were only counted


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which entries, newest first; all conditions hold together."""

    caller: str | None = None
    token: str | None = None
    operation: str | None = None
    endings: frozenset[Ending] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    cursor: str | None = None
    total: bool = False


class AuditLog(Protocol):
    """Who keeps the audit log."""

    async def note(self, entry: AuditEntry) -> None:
        """Keep an entry; it is on disk when this returns. Raises: Unavailable."""
        ...

    def note_refused(self, entry: AuditEntry) -> None:
        """Keep that somebody was refused, soon, without making anybody wait; of a flood only some entries, which count the others."""
        ...

    async def find(self, query: AuditQuery) -> Page[AuditEntry]:
        """Return one page. Raises: Rejected (the cursor is not of this list), Unavailable."""
        ...


# ---- writes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAudit:
    """Add an entry to the audit log."""

    entry: AuditEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneAudit:
    """Delete up to `limit` entries of the audit log that are older than a moment; the outcome's `count` says how many."""

    before: datetime
    limit: int
