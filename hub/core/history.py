"""What happened to an instance, as a store tells it: one value a row, in the order of their revisions. No behaviour, no I/O.

Revisions grow over everything that a store writes, so whoever has read up to one of them asks for what is newer and misses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from hub.core.model import Attempt, Entry


class HistoryKind(StrEnum):
    """What a `HistoryEvent` tells; those of the status are in the API's words."""

    QUEUED = "queued"  # created, restarted or resumed
    STARTED = "started"  # claimed for the first time
    RUNNING = "running"  # again, after one of the next three
    PAUSED = "paused"
    WAITING_FOR_PAUSE = "waitingForPause"
    WAITING = "waiting"
    ROLLING_BACK = "rollingBack"
    RESTARTED = "restarted"  # what is forgotten by that is no longer told; `data` = the origin, None = from the start
    COMPLETE = "complete"
    ERRORED = "errored"
    TERMINATED = "terminated"
    BEGAN = "began"  # `entry`: its first record
    ATTEMPTED = "attempted"  # `entry`: another attempt of it was seen to begin, after the first one; `data` = {"attempt": its number}
    SETTLED = "settled"  # `entry`: done or failed
    FAILED = "failed"  # `attempt`


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """One thing that happened to an instance. `rev` grows from event to event; BEGAN and SETTLED share it when they were written as one.

    `entry` is the entry as it is now, also with BEGAN and ATTEMPTED. Everything is told from what is stored, so a second reading tells the
    same, but for what a restart has made forgotten, and for the time of STARTED, which the execution tells later than its claim.
    """

    rev: int
    kind: HistoryKind
    at: datetime
    entry: Entry | None = None
    attempt: Attempt | None = None
    data: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """What happened to an instance after revision `after`, oldest first; the `rev` of the last event is the `after` of the next query.

    A page may hold one event more than `limit`: events of one revision are never torn apart.
    """

    instance: int
    after: int = 0
    limit: int = 100
