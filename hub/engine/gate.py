"""The gate of one trigger: whether its events go straight on or are held, and the release of those that were held.

Order: held events are released in the order in which they were stored, and an event that comes in before the last of them has been released
is held behind them. So one node keeps the order of its events over a pause. Two nodes that receive events of one trigger at the same time
promise nothing about the order between them, as they do not without a pause; and where the store fails or a backlog is full in the middle
of a release, those that are released together may overtake each other. Nothing is lost or doubled by a crash: a held row is settled in the
transaction that creates its instance, and rows that a dead process left behind are released by whoever sees them next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from hub.core.admit import BACKLOG_RETRY
from hub.core.clock import Clock
from hub.core.delivery import Delivery, DeliveryStatus, Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import Conflict, HubError, NotFound, Overloaded, Rejected, Unavailable
from hub.core.ports import Log
from hub.engine.ledger import Finding, Ledger

HELD_AT_MOST = 10_000  # by a trigger: what a pause of hours brings, and no more than a disk can hold of large ones
FULL_FOR_S = 1.0  # nothing is looked up in that time: a paused trigger must not slow the others down however much it is sent
AT_ONCE = 100  # released together: one commit or two, and room between them for the events of other triggers
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0  # between two tries on a store that is away, or a workflow whose backlog is full
_RETRY = timedelta(seconds=30)  # of whoever finds it full: a pause is ended by hand
PAUSED = Finding(DeliveryStatus.HELD, "trigger.paused", "the trigger is paused; what it receives is emitted when it is resumed")

Again = Callable[[Delivery, str | None], Awaitable[Receipt]]  # emits a stored delivery


class Gate:
    """Holds the events of a trigger while it is paused and until those that were held have been released."""

    def __init__(
        self, trigger: str, workflow: str | None, ledger: Ledger, again: Again, clock: Clock, log: Log, *, most: int = HELD_AT_MOST
    ) -> None:
        self._trigger = trigger
        self._workflow = workflow
        self._ledger = ledger
        self._again = again
        self._clock = clock
        self._log = log
        self._most = most
        self._full_until = 0.0  # monotonic time
        self._shut = False
        self._paused = False
        self._holding = 0
        self._held = 0  # how many were held since the start
        self._releasing: asyncio.Task[None] | None = None

    @property
    def shut(self) -> bool:
        """Whether an event is to be held now."""
        return self._shut

    def pause(self) -> None:
        """Hold from now on."""
        self._paused = self._shut = True

    def resume(self) -> None:
        """Release what is held, in the background, and then let events through."""
        self._paused, self._shut = False, True
        if self._releasing is None or self._releasing.done():
            self._releasing = asyncio.create_task(self._release(), name=f"trigger-{self._trigger}-release")

    async def hold(self, event: TriggerEvent) -> Receipt:
        """Store an event for later. Raises: Unavailable (Overloaded: as many are held as may be)."""
        if self._clock.monotonic() < self._full_until:
            raise self._full()
        self._holding += 1
        workflow = event.workflow or self._workflow
        try:
            id = await self._ledger.keep(self._trigger, event, PAUSED, workflow=workflow, cursor=event.cursor, most=self._most)
        except Overloaded:
            self._full_until = self._clock.monotonic() + FULL_FOR_S
            raise self._full() from None
        finally:
            self._holding -= 1
            self._held += 1
        return Receipt(status=ReceiptStatus.HELD, reason=PAUSED.code, delivery=id)

    def _full(self) -> Overloaded:
        told = "is paused and holds" if self._paused else "still holds"
        cure = "resume it, or replay some of them" if self._paused else "they are being released"
        message = f'trigger "{self._trigger}" {told} {self._most:,} deliveries, as many as it may; {cure}'
        return Overloaded(message, retry_after=_RETRY if self._paused else BACKLOG_RETRY)

    async def stop(self) -> None:
        """Stop releasing; what is still held is released after the next start."""
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.gather(self._releasing, return_exceptions=True)
            self._releasing = None

    async def _release(self) -> None:
        pause_s, released = _FIRST_PAUSE_S, 0
        while not self._paused:
            idle, before = self._holding == 0, self._held
            try:
                oldest = await self._ledger.held(self._trigger, AT_ONCE)
                if not oldest and idle and self._held == before and self._holding == 0:
                    break  # no event was on its way to the store while it was asked
                refused = await self._emit(oldest)
            except HubError as error:
                refused = error
            if refused is None:
                pause_s = _FIRST_PAUSE_S
                released += len(oldest)
                await asyncio.sleep(0)
                continue
            self._log.warning("trigger.release_waits", trigger=self._trigger, reason=refused.message, retry_in_s=pause_s)
            after = refused.retry_after if isinstance(refused, Unavailable) else None
            await self._clock.sleep(pause_s if after is None else max(after.total_seconds(), _FIRST_PAUSE_S))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        if not self._paused:
            self._shut = False
            if released:
                self._log.info("trigger.released", trigger=self._trigger, deliveries=released)

    async def _emit(self, oldest: tuple[Delivery, ...]) -> HubError | None:
        """Emit in order; return what keeps one of them from being settled now, if anything."""
        # Each of these calls submits its write before it waits for the first time, so instances are created in the order of the rows.
        results = await asyncio.gather(*(self._again(each, self._workflow) for each in oldest), return_exceptions=True)
        waits: HubError | None = None
        for each, result in zip(oldest, results, strict=True):
            if isinstance(result, Rejected):
                self._log.error("trigger.release_rejected", trigger=self._trigger, delivery=each.id, reason=result.message)
            elif isinstance(result, Unavailable):
                waits = result
            elif isinstance(result, BaseException) and not isinstance(result, Conflict | NotFound):  # those two: another node was faster
                raise result
        return waits
