"""The audit log: what is kept of who steered the hub and who was refused (`hub.core.audit.AuditLog`).

A control action waits until its entry is on disk. Somebody who was refused costs the hub nothing to wait for, and cannot fill the disk:
entries of refusals are rationed, and the next one counts those that were left out. Each token has a ration of its own, and all strangers
share one: a flood of theirs does not hide what somebody with a token has tried.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

from hub.core.audit import AuditEntry, AuditQuery, KeepAudit, PruneAudit
from hub.core.clock import Clock
from hub.core.errors import HubError
from hub.core.model import Page
from hub.core.ports import Log, Store
from hub.core.writes import Outcome
from hub.engine.committer import Committer

BURST = 10  # refusals that are kept at once …
REFILL_S = 60.0  # … and one more for so much time: at most some 130,000 in 90 days, for a token and for all strangers
_AT_ONCE = 1000  # entries that are deleted in a transaction
_TEXT = 500  # characters of what a client has chosen itself


@dataclass(slots=True)
class _Ration:
    """How many refusals may be kept now, as of a moment, and how many were left out since the last one that was."""

    at: float
    left: float = BURST
    left_out: int = 0


class Auditor:
    """The audit log of a node."""

    def __init__(self, store: Store, committer: Committer, clock: Clock, log: Log, kept: timedelta | None) -> None:
        self._store = store
        self._committer = committer
        self._clock = clock
        self._log = log
        self._kept = kept
        self._rations: dict[str | None, _Ration] = {}  # by token; None = of whoever has none

    async def note(self, entry: AuditEntry) -> None:
        """Keep an entry; it is on disk when this returns. Raises: Unavailable."""
        await self._committer.submit(KeepAudit(entry=_storable(entry)), patient=False)

    def note_refused(self, entry: AuditEntry) -> None:
        """Keep that somebody was refused; see `AuditLog.note_refused`."""
        now = self._clock.monotonic()
        ration = self._rations.setdefault(entry.token, _Ration(at=now))
        ration.left = min(BURST, ration.left + (now - ration.at) / REFILL_S)
        ration.at = now
        if ration.left < 1:
            ration.left_out += 1
            return
        ration.left -= 1
        entry = replace(_storable(entry), more=ration.left_out)
        ration.left_out = 0
        self._committer.submit(KeepAudit(entry=entry), patient=False).add_done_callback(self._look_at)

    async def find(self, query: AuditQuery) -> Page[AuditEntry]:
        """Return one page. Raises: Rejected (the cursor is not of this list), Unavailable."""
        return await self._store.find(query)

    async def prune(self) -> int:
        """Delete all entries that are too old; return how many."""
        deleted = 0
        while self._kept is not None:
            (outcome,) = await self._store.apply([PruneAudit(before=self._clock.now() - self._kept, limit=_AT_ONCE)])
            deleted += outcome.count
            if outcome.count < _AT_ONCE:
                break
        return deleted

    def _look_at(self, future: asyncio.Future[Outcome]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self._log.warning("audit.not_kept", error=error.message if isinstance(error, HubError) else type(error).__name__)


def _storable(entry: AuditEntry) -> AuditEntry:
    """Cut what a client has chosen, and take out what a database does not take."""
    remote = None if entry.remote is None else _text(entry.remote)
    return replace(entry, caller=_text(entry.caller), remote=remote, target=_text(entry.target), detail=_text(entry.detail))


def _text(text: str) -> str:
    return text[:_TEXT].encode("utf-8", "replace").decode().replace("\0", "�")
