"""The port of an operator: triggers and deliveries, as REST, CLI and dashboard see them. Protocol only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from hub.core.delivery import Delivery, DeliveryQuery, Occurrence, Receipt, TriggerView
from hub.core.flow import Overlap
from hub.core.model import Page


class Desk(Protocol):
    """The operator's side of triggers and deliveries, for REST, CLI and dashboard. Every method may raise NotFound and Unavailable."""

    async def triggers(self) -> Sequence[TriggerView]: ...
    async def trigger(self, name: str) -> TriggerView: ...

    async def pause(self, name: str, note: str | None = None) -> TriggerView:
        """Pause a trigger: webhooks accept and hold, queues stop consuming, schedules skip visibly."""
        ...

    async def resume(self, name: str) -> TriggerView:
        """Resume a trigger and emit what was held, oldest first, in the background."""
        ...

    async def fire(self, name: str, payload: Any = None, key: str | None = None) -> Receipt:
        """Emit an event in the trigger's name, as if it had come from its source. Raises: Rejected."""
        ...

    def preview(self, name: str, after: datetime, count: int) -> tuple[str, Sequence[Occurrence]]:
        """Return a schedule in words and its next occurrences. Raises: Conflict (`trigger.no_schedule`)."""
        ...

    async def backfill(
        self, name: str, start: datetime, end: datetime, *, overlap: Overlap | None = None, limit: int = 100, dry_run: bool = False
    ) -> Sequence[tuple[Occurrence, Receipt | None]]:
        """Emit the occurrences in [start, end); with `dry_run` only say which. Raises: Conflict, Rejected."""
        ...

    async def deliveries(self, query: DeliveryQuery) -> Page[Delivery]: ...
    async def delivery(self, id: str) -> Delivery: ...

    async def replay(self, id: str) -> Receipt:
        """Emit a stored delivery again under a fresh key. Raises: Rejected (again: the row says why), Conflict (replayed already)."""
        ...
