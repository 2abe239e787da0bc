"""The operator's desk: looks at triggers and stored deliveries, and steers them (`hub.core.desk.Desk`).

Decides nothing about events: what is fired or replayed takes the way of every other event. A verb is on disk when it returns, and this node
follows it at once; other nodes do so when they read the records again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from hub.core.admission import nearest_name
from hub.core.clock import Clock
from hub.core.delivery import Delivery, DeliveryQuery, DeliveryStatus, Occurrence, Receipt, TriggerEvent, TriggerRecord, TriggerView
from hub.core.errors import Conflict, NotFound, Unavailable
from hub.core.flow import Overlap
from hub.core.model import Page, Source
from hub.core.ports import Scheduled
from hub.engine.context import Services
from hub.engine.hosting import HostedTrigger, Hosting


class TriggerDesk:
    """The desk of a node: all triggers that it hosts, and all deliveries that are stored."""

    def __init__(self, hosting: Hosting, services: Services) -> None:
        self._hosting = hosting
        self._ledger = services.ledger
        self._again = services.again
        self._telemetry = services.telemetry
        self._clock: Clock = services.clock

    # ---- triggers

    async def triggers(self) -> Sequence[TriggerView]:
        """Return all triggers of the project, by name."""
        records = await self._ledger.records()
        return [self._view(hosted, records[name]) for name, hosted in sorted(self._hosting.hosted.items()) if name in records]

    async def trigger(self, name: str) -> TriggerView:
        """Return one trigger. Raises: NotFound with the nearest name."""
        hosted = self._hosted(name)
        return self._view(hosted, await self._ledger.record(name))

    async def pause(self, name: str, note: str | None = None) -> TriggerView:
        """Pause a trigger; pausing it again changes the note."""
        self._hosted(name)
        await self._ledger.steer(name, paused=True, note=note)
        await self._hosting.refresh()
        return await self.trigger(name)

    async def resume(self, name: str) -> TriggerView:
        """Resume a trigger; what was held is emitted in the background, and a schedule goes on from now."""
        hosted = self._hosted(name)
        if (await self._ledger.record(name)).paused_at is not None:
            now = self._clock.now()  # one moment for both, so that no slot falls in between
            if isinstance(hosted.spec.trigger, Scheduled) and hosted.running:
                await hosted.spec.trigger.pass_over(now)
            await self._ledger.steer(name, paused=False, at=now)
            await self._hosting.refresh()
        return await self.trigger(name)

    async def fire(self, name: str, payload: Any = None, key: str | None = None) -> Receipt:
        """Emit an event in the trigger's name; a schedule runs now. Raises: Rejected, Conflict (it is disabled, or calls the handler)."""
        hosted = self._running(name)
        trigger = hosted.spec.trigger
        if isinstance(trigger, Scheduled):
            if key is not None:
                raise Conflict("a schedule that runs now has no idempotency key; leave it out", code="trigger.cannot_fire")
            return await trigger.fire(payload)
        if hosted.spec.handler is not None:
            raise Conflict(
                f'trigger "{name}" calls the project\'s handler, which takes what its source delivers; send it there',
                code="trigger.cannot_fire",
            )
        return await hosted.emit(TriggerEvent(payload=payload, key=key, metadata={"fired": True}, source=Source.API))

    def preview(self, name: str, after: datetime, count: int) -> tuple[str, Sequence[Occurrence]]:
        """Return a schedule in words and its next occurrences. Raises: NotFound, Conflict (`trigger.no_schedule`)."""
        schedule = self._schedule(self._hosted(name))
        return schedule.sentence(), schedule.preview(after, count)

    async def backfill(
        self, name: str, start: datetime, end: datetime, *, overlap: Overlap | None = None, limit: int = 100, dry_run: bool = False
    ) -> Sequence[tuple[Occurrence, Receipt | None]]:
        """Emit the occurrences in [start, end); see `Scheduled.backfill`. Raises: NotFound, Conflict, Rejected."""
        schedule = self._schedule(self._running(name))
        if dry_run:
            return [(each, None) for each in schedule.occurrences(start, end, limit)]
        return [*await schedule.backfill(start, end, overlap=overlap, limit=limit)]

    # ---- deliveries

    async def deliveries(self, query: DeliveryQuery) -> Page[Delivery]:
        """Return one page of stored deliveries. Raises: Rejected (the cursor is not of this list)."""
        return await self._ledger.deliveries(query)

    async def delivery(self, id: str) -> Delivery:
        """Return one stored delivery with its event. Raises: NotFound."""
        return await self._ledger.delivery(id)

    async def replay(self, id: str) -> Receipt:
        """Emit a stored delivery again.

        Raises: NotFound, Rejected (the row says the new cause), Conflict (`delivery.replayed`, `delivery.of_handler`: nothing changed).
        """
        stored = await self._ledger.delivery(id)
        if stored.status is DeliveryStatus.REPLAYED:
            raise Conflict(f'delivery "{id}" has been replayed already: {stored.workflow} {stored.instance_id}', code="delivery.replayed")
        hosted = self._hosting.hosted.get(stored.trigger)
        if hosted is not None and hosted.spec.handler is not None and stored.workflow is None:
            raise Conflict(_of_handler(hosted), code="delivery.of_handler")
        return await self._again(stored, None if hosted is None else hosted.spec.workflow)

    # ---- pieces

    def _view(self, hosted: HostedTrigger, record: TriggerRecord) -> TriggerView:
        if not isinstance(hosted.spec.trigger, Scheduled):
            record = replace(record, cursor=None)  # every record has one, and only a schedule decides by it
        return TriggerView(
            record=record, health=hosted.health, settings=hosted.spec.settings, counts=self._telemetry.events_of(hosted.spec.name)
        )

    def _hosted(self, name: str) -> HostedTrigger:
        hosted = self._hosting.hosted.get(name)
        if hosted is None:
            hint = nearest_name(name, self._hosting.hosted)
            raise NotFound(f'trigger "{name[:64]}" not found{hint}', code="trigger.not_found")
        return hosted

    def _running(self, name: str) -> HostedTrigger:
        hosted = self._hosted(name)
        if not hosted.running and hosted.spec.enabled:
            raise Unavailable(f'trigger "{name}" does not run on this node; ask one with the role intake')
        if not hosted.running:
            raise Conflict(f'trigger "{name}" is disabled; set enabled = true in hub.toml', code="trigger.disabled")
        return hosted

    def _schedule(self, hosted: HostedTrigger) -> Scheduled:
        if not isinstance(hosted.spec.trigger, Scheduled):
            raise Conflict(f'trigger "{hosted.spec.name}" has no schedule: its kind is {hosted.spec.kind}', code="trigger.no_schedule")
        return hosted.spec.trigger


def _of_handler(hosted: HostedTrigger) -> str:
    name = hosted.spec.name
    cure = f"`hub triggers fire {name}` calls it now" if isinstance(hosted.spec.trigger, Scheduled) else "send the payload there once more"
    return f'trigger "{name}" calls the project\'s handler, which takes what its source delivers, and no stored delivery; {cure}'
