"""Schedules. Owns what an occurrence becomes: an instance, a call of the project's handler, or a row that tells why it is neither.

An occurrence is (trigger, nominal UTC time): its key, its instance id and the trigger's cursor are all made of the nominal time, so that
any number of nodes may tick the same schedule. Never holds a lock on a run: the store decides about overlaps, from its instances.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, ClassVar

from hub.core.delivery import DeliveryStatus, Occurrence, Receipt, ReceiptStatus, TriggerEvent
from hub.core.duration import format_duration
from hub.core.errors import ConfigError, Rejected, Unavailable
from hub.core.flow import Overlap
from hub.core.model import Schedule, Source
from hub.core.ports import Handler, TriggerContext
from hub.core.scheduled import ScheduledController
from triggers._calendar import Calendar, check_timezone
from triggers._catch_up import CatchUp, Passed, Policy, Slots
from triggers._cron_config import CronConfig
from triggers._expression import parse
from triggers._ticker import Ticker
from triggers._words import sentence

__all__ = ["CronConfig", "CronTrigger", "occurrence_id"]

PAUSED, OVERLAP_SKIP, HANDLER_FAILED = "trigger.paused", "overlap.skip", "handler.failed"
_WHY = {
    PAUSED: "the trigger was paused",
    "catch_up.none": "nobody was there to run it; `catch_up` is none",
    "catch_up.last": "nobody was there to run it; `catch_up` makes up the latest one only",
    "catch_up.max": "nobody was there to run it; `catch_up_max` allows no more to be made up",
    "catch_up.window": "nobody could run it within its `catch_up_window`",
}

_MAX_ID_CHARS = 271
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9, */#_-]")
_FOLLOWING = 3  # times after a slot that its instance is told
_LOOK_BACK = timedelta(days=3660)  # for the time before a slot
_HANDLER_GRACE_S = 10.0  # that a running handler has when the hub stops
_TICK = timedelta(microseconds=1)


def occurrence_id(cron: str, nominal: datetime, suffix: str = "") -> str:
    """Return the instance id of an occurrence, `{cron}-{ms}`: every node, and every restart, makes the same one."""
    return _NOT_IN_IDS.sub("_", f"{cron}-{_ms(nominal)}{suffix}")[:_MAX_ID_CHARS]


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


# ---- the trigger


class CronTrigger:
    """One schedule: each occurrence becomes one instance, or one call of the project's `scheduled` handler."""

    Config: ClassVar[type] = CronConfig
    calls: ClassVar[str] = "scheduled"

    def __init__(self, config: CronConfig) -> None:
        self._config = config
        times = parse(config.cron, seconds=config.seconds, both=config.days == "both", phase=config.phase)
        self._calendar = Calendar(times, check_timezone(config.timezone), config.dst_gap, config.dst_overlap, config.spread)
        self._policy = Policy(catch_up=config.catch_up, window=config.catch_up_window, max=config.catch_up_max)
        self._ctx: TriggerContext | None = None
        self._ticker: Ticker | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def start(self, ctx: TriggerContext) -> None:
        """Begin to watch the clock from the trigger's cursor on. Raises: ConfigError."""
        if ctx.handler is not None and self._config.overlap not in (None, Overlap.ALLOW, Overlap.SKIP):
            raise ConfigError(
                f"{self._config.overlap} needs a workflow; a handler knows allow and skip", path=f"triggers.{ctx.name}.overlap"
            )
        self._ctx = ctx
        self._ticker = Ticker(ctx, Slots(self._calendar, ctx.name, self._policy), self)
        self._ticker.start()

    async def stop(self) -> None:
        """Return when the slot that is being decided is on disk, and running handlers have ended or used up their grace."""
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            await ticker.stop()
        if self._calls:
            await asyncio.wait(self._calls, timeout=_HANDLER_GRACE_S)
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def look(self) -> None:
        """Look at the clock again now."""
        if self._ticker is not None:
            await self._ticker.look()

    # ---- what an operator sees and does

    def sentence(self) -> str:
        """Say the schedule in words."""
        spread = self._config.spread
        words = sentence(self._calendar.times, self._config.timezone)
        if spread is None:
            return words
        over = format_duration(spread.window) if spread.window is not None else f"{spread.share:.0%} of the time until the next one"
        return f"{words}, spread over {over}"

    def preview(self, after: datetime, count: int) -> Sequence[Occurrence]:
        """Return the next occurrences after a moment; `starts_at` of a spread one is known when the trigger has been started."""
        return [self._slot(nominal) for nominal in islice(self._calendar.after(after), count)]

    def occurrences(self, start: datetime, end: datetime, limit: int) -> Sequence[Occurrence]:
        """Return what a backfill of [start, end) would emit: its dry run. Raises: Rejected, Unavailable."""
        ctx = self._started()
        if ctx.handler is not None:
            raise Rejected("a schedule that calls the handler has no backfill; bind it to a workflow", code="trigger.no_workflow")
        if end > ctx.clock.now():
            raise Rejected(f"the end {end.isoformat()} lies in the future; a backfill is of what has passed", code="backfill.future")
        return [self._slot(nominal) for nominal in islice(self._calendar.between(start - _TICK, end - _TICK), limit)]

    async def fire(self, payload: Any = None, *, overlap: Overlap | None = Overlap.ALLOW) -> Receipt:
        """Run now, whatever the calendar says, beside what runs already; `overlap` None = as the schedule says.

        Raises: Rejected, Unavailable.
        """
        ctx = self._started()
        now = ctx.clock.now()
        slot = self._event(ctx.name, Occurrence(nominal=now, starts_at=now))
        event = replace(slot, payload=slot.payload if payload is None else payload, key=None, instance_id=None, cursor=None)
        if ctx.handler is not None:
            self._call(ctx, ctx.handler, event)
            return Receipt(status=ReceiptStatus.DELIVERED)
        return await ctx.emit(replace(event, metadata={**event.metadata, "fired": True}, overlap=overlap or event.overlap))

    async def backfill(
        self, start: datetime, end: datetime, *, overlap: Overlap | None, limit: int
    ) -> Sequence[tuple[Occurrence, Receipt]]:
        """Emit the occurrences in [start, end), oldest first, at most `limit`; one that exists is DUPLICATE.

        Without `overlap` they run one after another, or all at once where the schedule allows it. Raises: Rejected, Unavailable; what was
        emitted before stays, and is DUPLICATE the next time.
        """
        slots, ctx = self.occurrences(start, end, limit), self._started()
        chosen = overlap or (Overlap.ALLOW if self._config.overlap is Overlap.ALLOW else Overlap.QUEUE_ALL)
        return [(slot, await ctx.emit(replace(self._event(ctx.name, slot), cursor=None, overlap=chosen))) for slot in slots]

    async def pass_over(self, until: datetime) -> None:
        """Record the slots of a pause that is about to end as skipped, up to a moment. Raises: Unavailable."""
        if self._ticker is not None:
            await self._ticker.pass_over(until, PAUSED)

    # ---- what the ticker asks for

    async def run(self, slot: Occurrence, cursor: datetime) -> bool:
        """Create the slot's instance, or call the handler; False = another node was faster. Raises: Unavailable."""
        ctx = self._started()
        event = self._event(ctx.name, slot)
        if ctx.handler is not None:
            return await self._hand_over(ctx, ctx.handler, event, cursor)
        try:
            receipt = await ctx.emit(event)
        except Rejected as error:
            ctx.log.error("cron.rejected", trigger=ctx.name, nominal=slot.nominal.isoformat(), code=error.code, reason=error.message)
            return True  # stored as a delivery, and the cursor with it
        if receipt.status is ReceiptStatus.FILTERED:
            ctx.log.info("cron.skipped", trigger=ctx.name, nominal=slot.nominal.isoformat(), reason=receipt.reason)
        return True

    def tell(self, passed: Passed) -> tuple[TriggerEvent, str]:
        """Return the event and the message for slots that do not run."""
        ctx = self._started()
        event = self._event(ctx.name, Occurrence(nominal=passed.last, starts_at=passed.last))
        if passed.count == 1:
            return event, _WHY[passed.code]
        first, last = passed.first.isoformat(), passed.last.isoformat()
        metadata = {**event.metadata, "first": first, "last": last, "count": passed.count, "uncounted": passed.uncounted}
        count = f"{'more than ' if passed.uncounted else ''}{passed.count:,}"
        return replace(event, key=f"{first}/{last}", metadata=metadata), f"{count} slots from {first} to {last}: {_WHY[passed.code]}"

    # ---- events

    def event(self, trigger: str, nominal: datetime) -> TriggerEvent:
        """Return what the trigger of that name emits for one of its occurrences."""
        return self._event(trigger, self._calendar.occurrence(trigger, nominal))

    def _event(self, trigger: str, slot: Occurrence) -> TriggerEvent:
        config, nominal = self._config, slot.nominal
        # The plain id means "this expression at this time". A schedule that adds something of its own must not collide with it.
        plain = config.timezone == "UTC" and config.payload == {}
        before = self._calendar.last(1, nominal - _LOOK_BACK, nominal - _TICK)
        return TriggerEvent(
            payload=config.payload,
            key=nominal.isoformat(),
            metadata={
                "nominal_time": nominal.isoformat(),
                "scheduled_time": slot.starts_at.isoformat(),
                "previous_time": before[0].isoformat() if before else None,
                "next_times": [following.isoformat() for following in islice(self._calendar.after(nominal), _FOLLOWING)],
            },
            occurred_at=nominal,
            instance_id=occurrence_id(config.cron, nominal, "" if plain else f"-{trigger}"),
            schedule=Schedule(cron=config.cron, scheduled_at=nominal),
            source=Source.CRON,
            cursor=nominal,
            overlap=config.overlap,
            # All that are made up come at once: what skips would leave one of them.
            overlap_default=Overlap.QUEUE_ALL if config.catch_up is CatchUp.ALL else Overlap.SKIP,
        )

    def _slot(self, nominal: datetime) -> Occurrence:
        return Occurrence(nominal=nominal, starts_at=nominal) if self._ctx is None else self._calendar.occurrence(self._ctx.name, nominal)

    def _started(self) -> TriggerContext:
        if self._ctx is None:
            raise Unavailable("the schedule has not been started")
        return self._ctx

    # ---- the handler

    async def _hand_over(self, ctx: TriggerContext, handler: Handler, event: TriggerEvent, cursor: datetime) -> bool:
        """Claim the slot by its cursor, then call the handler: a crash in between loses the call and never doubles it."""
        if self._config.overlap is Overlap.SKIP and self._calls:
            await ctx.keep(event, DeliveryStatus.SKIPPED, code=OVERLAP_SKIP, message="an earlier call has not ended", since=event.cursor)
            return True
        if event.occurred_at is None or not await ctx.move_cursor(cursor, event.occurred_at):
            return False
        self._call(ctx, handler, event)
        return True

    def _call(self, ctx: TriggerContext, handler: Handler, event: TriggerEvent) -> None:
        call = asyncio.create_task(self._serve(ctx, handler, event), name=f"trigger-{ctx.name}-handler")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _serve(self, ctx: TriggerContext, handler: Handler, event: TriggerEvent) -> None:
        try:
            await handler(ScheduledController(self._config.cron, _ms(event.occurred_at or ctx.clock.now())))
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            ctx.log.error("cron.handler_failed", trigger=ctx.name, nominal=event.key, error=message)
            with contextlib.suppress(Unavailable):  # the log has it
                await ctx.keep(event, DeliveryStatus.DEAD, code=HANDLER_FAILED, message=message)
