"""The words of the output: statuses, triggers, step types, dates and durations as `wrangler` writes them.

Pure: text from values, no I/O. The time zone and the present are the reader's and come in as a `Viewer`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

STATUSES = {
    "queued": "⌛ Queued",
    "running": "▶ Running",
    "paused": "⏸️ Paused",
    "errored": "❌ Errored",
    "terminated": "🚫 Terminated",
    "complete": "✅ Completed",
    "waiting": "⏰ Waiting",
    "waitingForPause": "⏱️ Waiting for Pause",
    "rollingBack": "🔙 Rolling Back",
}
TRIGGERS = {"api": "🌎 API", "binding": "🔗 Binding", "event": "📩 Event", "cron": "⌛ Cron"}
STEP_TYPES = {
    "step": "🎯 Step",
    "workflow": "🧩 Workflow",
    "sleep": "💤 Sleeping",
    "waitForEvent": "👀 Waiting for event",
    "termination": "🚫 Termination",
    "rollback": "🔙 Rollback",
}
UNKNOWN = "❓ Unknown"

STYLES = {
    "queued": "cyan",
    "running": "blue",
    "paused": "yellow",
    "errored": "red",
    "terminated": "magenta",
    "complete": "green",
    "waiting": "yellow",
    "waitingForPause": "yellow",
    "rollingBack": "yellow",
}

_MINUTES = {"hour": 60, "day": 1_440, "month": 43_200, "year": 525_600}


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who reads the output: when, and in which time zone (None = the machine's)."""

    now: datetime
    zone: tzinfo | None = None

    @classmethod
    def here(cls) -> Viewer:
        """Return the person at this machine, now."""
        return cls(now=datetime.now(UTC))

    def moment(self, when: str | datetime | None) -> str:
        """Write a moment like `11/22/2026, 6:00:00 AM`; nothing for None."""
        moment = parse_moment(when)
        if moment is None:
            return ""
        local = moment.astimezone(self.zone)
        return f"{local.month}/{local.day}/{local.year}, {local.hour % 12 or 12}:{local:%M:%S} {'AM' if local.hour < 12 else 'PM'}"

    def span(self, start: str | datetime | None, end: str | datetime | None) -> str:
        """Write how long something took, or takes so far when it has no end."""
        began = parse_moment(start)
        if began is None:
            return ""
        return duration(((parse_moment(end) or self.now) - began).total_seconds())


def parse_moment(when: str | datetime | None) -> datetime | None:
    """Read a timestamp of the API; None stays None."""
    return datetime.fromisoformat(when) if isinstance(when, str) else when


def duration(seconds: float) -> str:
    """Write a duration in its largest whole unit, rounded: "0 seconds", "2 minutes", "1 day"."""
    minutes = abs(seconds) / 60
    if minutes < 1:
        return _counted(_rounded(abs(seconds)), "second")
    if minutes < _MINUTES["hour"]:
        return _counted(_rounded(minutes), "minute")
    if minutes < _MINUTES["day"]:
        return _counted(_rounded(minutes / _MINUTES["hour"]), "hour")
    if minutes < _MINUTES["month"]:
        return _counted(_rounded(minutes / _MINUTES["day"]), "day")
    months = _rounded(minutes / _MINUTES["month"])
    if minutes < _MINUTES["year"] and months < 12:
        return _counted(months, "month")
    return _counted(max(1, _rounded(minutes / _MINUTES["year"])), "year")


def _rounded(number: float) -> int:
    return math.floor(number + 0.5)


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
