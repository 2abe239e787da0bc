"""The pipeline: what every event of every trigger passes before it becomes an instance, and the account of those that do not.

Invariant: when `emit` returns or raises `Rejected`, the event is on disk, either in an instance or as a stored delivery. Everything else
is `Unavailable`, and the sender still has the event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from hub.core.deliveries import decode_event
from hub.core.delivery import Delivery, DeliveryStatus, Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import HubError, Rejected, Unavailable
from hub.core.ports import Log
from hub.engine.bus import Bus
from hub.engine.expressions import ExpressionError
from hub.engine.ledger import Finding, Ledger
from hub.engine.rules import NO_RULES, Rules
from hub.engine.telemetry import Telemetry

REJECTED, UNAVAILABLE = "rejected", "unavailable"  # outcomes beside those of a receipt
FAULT = "filter_error"  # counted beside the outcome of an event whose filter could not be evaluated
_OF_SLOTS = {"singleton": "overlap.skip"}  # what a schedule calls it
_DROPPED = {
    "filter": "the trigger's filter says no",
    "rate_limit": "more events came than the rate limit allows",
    "debounce": "it belongs to a burst whose first event has run already",
    "singleton": "an earlier instance of the same key has not ended",
    "concurrency": "as many instances of the same key execute as the limit allows",
}
_NO_WORKFLOW = "the trigger is bound to no workflow and its event names none; give the trigger a `workflow`"


class Pipeline:
    """Applies the rules of triggers and hands their events to the bus. `rules` are by name of the trigger."""

    def __init__(self, bus: Bus, ledger: Ledger, telemetry: Telemetry, log: Log, rules: Mapping[str, Rules]) -> None:
        self._bus = bus
        self._ledger = ledger
        self._telemetry = telemetry
        self._log = log
        self._rules = rules

    async def again(self, stored: Delivery, workflow: str | None) -> Receipt:
        """Emit a stored delivery: a held one under its own key, any other under a fresh one. The row says what became of it.

        Raises: Rejected, Conflict (it has been replayed already), NotFound (it is gone), Unavailable (the row is as it was).
        """
        try:
            event = decode_event(stored.event)
        except ValueError as error:
            await self._ledger.change(stored.id, Finding(DeliveryStatus.DEAD, "delivery.unreadable", str(error)))
            raise Rejected(str(error), code="delivery.unreadable") from error
        return await self.emit(stored.trigger, workflow or stored.workflow, event, stored)

    async def emit(self, trigger: str, workflow: str | None, event: TriggerEvent, stored: Delivery | None = None) -> Receipt:
        """Do what an event asks for; on disk when it returns. `stored` is the delivery that it comes from, if it was one.

        Raises: Rejected (stored as a delivery), Unavailable (nothing is stored).
        """
        bound = event.workflow or workflow
        try:
            rules = self._rules.get(trigger, NO_RULES)
            ruled = event if rules is NO_RULES else rules.apply(trigger, event, partial(self._fault, trigger))
            if ruled is None:
                receipt = Receipt(status=ReceiptStatus.FILTERED, workflow=bound, reason="filter")
            elif bound is not None and not self._bus.cancels(trigger):  # nearly every event
                receipt = await self._bus.emit(trigger, bound, ruled, stored)
            else:
                receipt = await self._act(trigger, bound, ruled, stored)
        except Rejected as error:
            await self._account(trigger, bound, event, Finding(DeliveryStatus.REJECTED, error.code, error.message), stored)
            self._telemetry.event(trigger, REJECTED)
            raise
        except Unavailable:
            self._telemetry.event(trigger, UNAVAILABLE)
            raise
        outcome = receipt.status.value
        if receipt.status is ReceiptStatus.FILTERED:
            receipt = await self._skipped(trigger, event, receipt, stored)
            outcome = _dropped_as(event).value
        self._telemetry.event(trigger, outcome)
        return receipt

    async def _act(self, trigger: str, workflow: str | None, event: TriggerEvent, stored: Delivery | None) -> Receipt:
        """Cancel what the event cancels, then create what it creates."""
        if workflow is None and not self._bus.cancels(trigger):
            raise Rejected(_NO_WORKFLOW, code="trigger.no_workflow")
        cancelled = await self._bus.cancel(trigger, event)
        if workflow is not None:
            return await self._bus.emit(trigger, workflow, event, stored)
        told = f"cancelled {cancelled} instance{'s' * (cancelled != 1)}"
        if stored is not None:
            await self._ledger.change(stored.id, Finding(DeliveryStatus.REPLAYED, "cancelled", told))
        return Receipt(status=ReceiptStatus.DELIVERED, reason=told)

    def _fault(self, trigger: str, error: ExpressionError) -> None:
        self._telemetry.event(trigger, FAULT)
        self._log.warning("trigger.filter_failed", trigger=trigger, error=error.message, filtered=False)

    async def _skipped(self, trigger: str, event: TriggerEvent, receipt: Receipt, stored: Delivery | None) -> Receipt:
        """Store what was knowingly dropped; of a schedule it is a slot that was skipped."""
        reason = receipt.reason or "filter"
        status, code = _dropped_as(event), reason if event.schedule is None else _OF_SLOTS.get(reason, reason)
        finding = Finding(status, code, _DROPPED.get(reason, f"dropped by {reason}"), receipt.instance_id)
        return replace(receipt, reason=code, delivery=await self._account(trigger, receipt.workflow, event, finding, stored))

    async def _account(
        self, trigger: str, workflow: str | None, event: TriggerEvent, finding: Finding, stored: Delivery | None
    ) -> str | None:
        """Store why an event created nothing, in its own row or in a new one. Raises: Unavailable, so that the sender keeps the event."""
        try:
            if stored is None:
                return await self._ledger.keep(trigger, event, finding, workflow=workflow, cursor=event.cursor)
            await self._ledger.change(stored.id, finding)
            return stored.id
        except HubError as error:
            self._telemetry.event(trigger, UNAVAILABLE)
            if isinstance(error, Unavailable):
                raise
            raise Unavailable(f"the event could not be stored as {finding.status} ({finding.message}): {error.message}") from error


def _dropped_as(event: TriggerEvent) -> DeliveryStatus:
    return DeliveryStatus.FILTERED if event.schedule is None else DeliveryStatus.SKIPPED
