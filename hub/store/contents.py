"""What lies in a database at one moment, as `hub doctor` tells it: the same questions to every database. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from hub.store.columns import micros, moment_or_none
from hub.store.program import Program, fetch, first
from hub.store.schema import NEWEST, OURS

_NEWEST_INSTANCE = "SELECT created_at FROM instance WHERE key = (SELECT max(key) FROM instance)"
_CHANGED = f"SELECT max(at) FROM (SELECT max(started_at) AS at FROM node UNION ALL {_NEWEST_INSTANCE}) AS newest"
_TROUBLED = """
SELECT w.name, i.id, i.recoveries FROM instance i JOIN workflow w ON w.key = i.workflow
WHERE i.ended_at IS NULL AND i.recoveries > 1 ORDER BY i.recoveries DESC LIMIT 5
"""
_OVERDUE = "SELECT min(wake_at) FROM instance WHERE ended_at IS NULL AND node IS NULL AND flow IS NULL AND wake_at < ?"
_TOKENS = "SELECT count(*) FROM token WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What lies in a database at one moment. Counts are by status; `overdue` is the longest wait of an instance that nobody claims."""

    schema: str | None
    newest: str = NEWEST
    oldest: str | None = None  # that a hub must know to use the database; None = nobody has said
    bytes: int = 0
    log_bytes: int = 0
    free_bytes: int = 0
    journal_mode: str = ""
    instances: dict[str, int] = field(default_factory=dict)
    never_started: int = 0
    deliveries: dict[str, int] = field(default_factory=dict)
    due_since: datetime | None = None
    troubled: tuple[tuple[str, str, int], ...] = ()  # workflow, id and recoveries of instances whose process has died more than once
    paused_by_error: int = 0
    changed_at: datetime | None = None  # the newest time that an instance or a node carries
    tokens: int = 0  # that still open something

    @property
    def current(self) -> bool:
        """Whether this version of the hub can read the tables."""
        return self.schema == self.newest or (self.schema is not None and OURS.reads(self.schema, self.oldest))


def filled(found: Contents, now: datetime) -> Program[Contents]:
    """Return contents, of which the schema is known, with all that the tables say."""
    instances = yield from fetch("SELECT status, count(*) FROM instance GROUP BY status")
    deliveries = yield from fetch("SELECT status, count(*) FROM delivery GROUP BY status")
    troubled = yield from fetch(_TROUBLED)
    never = yield from first("SELECT count(*) FROM instance WHERE status = 'queued' AND token = 0")
    paused = yield from first("SELECT count(*) FROM instance WHERE status = 'paused' AND error IS NOT NULL")
    due = yield from first(_OVERDUE, micros(now))
    changed = yield from first(_CHANGED)
    tokens = yield from first(_TOKENS, micros(now))
    return replace(
        found,
        instances=dict(instances),
        deliveries=dict(deliveries),
        troubled=tuple((name, id, recoveries) for name, id, recoveries in troubled),
        never_started=never[0] if never else 0,
        paused_by_error=paused[0] if paused else 0,
        due_since=moment_or_none(due[0] if due else None),
        changed_at=moment_or_none(changed[0] if changed else None),
        tokens=tokens[0] if tokens else 0,
    )
