"""The resources of triggers and stored deliveries: list, read, pause, resume, fire, preview, backfill, replay.

Shapes requests and results; every rule is the desk's.
"""

from __future__ import annotations

from hub.api.envelope import result_info, timestamp
from hub.api.operation import Answer, Call
from hub.api.trigger_shapes import (
    BackfillBody,
    BackfillItem,
    DeliveryDetail,
    DeliveryItem,
    DeliveryListQuery,
    FireBody,
    OccurrenceItem,
    PreviewItem,
    PreviewQuery,
    ReceiptItem,
    TriggerState,
    TriggerStatusBody,
)
from hub.core.clock import Clock
from hub.core.delivery import Delivery, DeliveryQuery, Occurrence, Receipt, TriggerView
from hub.core.desk import Desk
from hub.core.outside import parse_json


class Triggers:
    """Handlers of `/triggers` and `/deliveries`."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self._desk = desk
        self._clock = clock

    async def list(self, call: Call[None, None]) -> Answer:
        """Return all triggers, by name."""
        found = [trigger_state(view) for view in await self._desk.triggers()]
        return Answer(result=found, info=result_info(count=len(found), per_page=max(len(found), 1), page=1, total=len(found), cursor=None))

    async def get(self, call: Call[None, None]) -> Answer:
        """Return one trigger."""
        return Answer(result=trigger_state(await self._desk.trigger(call.path["trigger"])))

    async def edit_status(self, call: Call[None, TriggerStatusBody]) -> Answer:
        """Pause or resume a trigger."""
        name = call.path["trigger"]
        if call.body.status == "pause":
            return Answer(result=trigger_state(await self._desk.pause(name, call.body.note)))
        return Answer(result=trigger_state(await self._desk.resume(name)))

    async def fire(self, call: Call[None, FireBody]) -> Answer:
        """Emit an event in the trigger's name."""
        return Answer(result=receipt_item(await self._desk.fire(call.path["trigger"], call.body.payload, call.body.key)))

    async def preview(self, call: Call[PreviewQuery, None]) -> Answer:
        """Return the next occurrences of a schedule."""
        name = (await self._desk.trigger(call.path["trigger"])).record.name
        words, found = self._desk.preview(name, call.query.after or self._clock.now(), call.query.count)
        return Answer(result=PreviewItem(description=words, occurrences=[_occurrence_item(each) for each in found]))

    async def backfill(self, call: Call[None, BackfillBody]) -> Answer:
        """Emit the occurrences of a span of time; the cursor is the `start` of what the limit has left out."""
        body = call.body
        found = await self._desk.backfill(
            call.path["trigger"], body.start, body.end, overlap=body.overlap, limit=body.limit, dry_run=body.dry_run
        )
        items = [
            BackfillItem(**_occurrence_item(occurrence), receipt=None if receipt is None else receipt_item(receipt))
            for occurrence, receipt in found
        ]
        more = self._desk.preview(call.path["trigger"], found[-1][0].nominal, 1)[1] if len(found) == body.limit else []
        cursor = timestamp(more[0].nominal) if more and more[0].nominal < body.end else None
        return Answer(result=items, info=result_info(count=len(items), per_page=body.limit, page=None, total=None, cursor=cursor))

    async def deliveries(self, call: Call[DeliveryListQuery, None]) -> Answer:
        """Return one page of stored deliveries."""
        query = call.query
        page = await self._desk.deliveries(
            DeliveryQuery(
                trigger=query.trigger,
                statuses=query.status,
                received_from=query.date_start,
                received_to=query.date_end,
                ascending=query.direction == "asc",
                limit=query.per_page,
                cursor=query.cursor,
                total=True,
            )
        )
        info = result_info(count=len(page.items), per_page=query.per_page, page=None, total=page.total, cursor=page.cursor)
        return Answer(result=[delivery_item(delivery) for delivery in page.items], info=info)

    async def delivery(self, call: Call[None, None]) -> Answer:
        """Return one stored delivery with its event."""
        found = await self._desk.delivery(call.path["delivery"])
        return Answer(result=DeliveryDetail(**delivery_item(found), event=parse_json(found.event)))

    async def replay(self, call: Call[None, None]) -> Answer:
        """Emit a stored delivery again."""
        return Answer(result=receipt_item(await self._desk.replay(call.path["delivery"])))


def trigger_state(view: TriggerView) -> TriggerState:
    """Shape a trigger."""
    record = view.record
    return TriggerState(
        name=record.name,
        kind=record.kind,
        workflow_name=record.workflow,
        status=view.health.phase.value,
        message=view.health.message,
        paused_on=timestamp(record.paused_at),
        note=record.note,
        created_on=timestamp(record.created_at),
        modified_on=timestamp(record.modified_at),
        cursor=timestamp(record.cursor),
        facts=dict(view.health.facts),
        counts=dict(view.counts),
        settings=dict(view.settings),
    )


def receipt_item(receipt: Receipt) -> ReceiptItem:
    """Shape what became of an event."""
    return ReceiptItem(
        status=receipt.status.value,
        workflow_name=receipt.workflow,
        instance_id=receipt.instance_id,
        delivery_id=receipt.delivery,
        reason=receipt.reason,
    )


def delivery_item(delivery: Delivery) -> DeliveryItem:
    """Shape a stored delivery without its event."""
    return DeliveryItem(
        id=delivery.id,
        trigger=delivery.trigger,
        status=delivery.status.value,
        code=delivery.code,
        message=delivery.message,
        key=delivery.key,
        received_on=timestamp(delivery.received_at),
        occurred_on=timestamp(delivery.occurred_at),
        workflow_name=delivery.workflow,
        instance_id=delivery.instance_id,
        changed_on=timestamp(delivery.changed_at),
    )


def _occurrence_item(occurrence: Occurrence) -> OccurrenceItem:
    return OccurrenceItem(nominal=timestamp(occurrence.nominal), starts_on=timestamp(occurrence.starts_at))
