"""What a `scheduled` handler gets: the occurrence of a schedule that is bound to no workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class ScheduledController:
    """One occurrence: `cron` as it is written in hub.toml, `scheduled_time` in milliseconds since 1970. `scheduledTime` is the same.

    A handler is called at most once for each occurrence, on one node, and never again when it fails or its process dies: what must not be
    lost belongs into a workflow.
    """

    cron: str
    scheduled_time: int
    type: str = "scheduled"

    @property
    def scheduled_at(self) -> datetime:
        """The nominal time."""
        return datetime.fromtimestamp(self.scheduled_time / 1000, UTC)

    def no_retry(self) -> None:
        """Say that a failure is final. It always is here; programs from elsewhere may go on saying so."""

    def __getattr__(self, name: str) -> Any:
        """Return what is known under its camelCase name."""
        own = {"scheduledTime": "scheduled_time", "noRetry": "no_retry"}.get(name)
        if own is None:
            raise AttributeError(f"a scheduled controller has no {name!r}; it has cron, scheduled_time, scheduled_at and no_retry")
        return getattr(self, own)
