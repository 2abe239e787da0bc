"""The loop of one schedule: decides every slot when its time has come. Truth is the cursor in the store; nothing here outlives a crash.

A decision is one transaction: the slot's instance, or the row that says why it has none, together with the cursor. So any number of nodes
may tick the same schedule, and whoever dies between two decisions leaves nothing half done. Slots are decided one at a time, in order.
APScheduler is only the in-process timer that makes the loop look at the clock again; what is due is computed here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from hub.core.delivery import DeliveryStatus, Occurrence, Phase, TriggerEvent
from hub.core.errors import Unavailable
from hub.core.ports import TriggerContext
from triggers._catch_up import ON_TIME, Passed, Slots

T = TypeVar("T")
LOOK_AGAIN_S = 60  # a suspended machine and a corrected clock are noticed this soon
_NODES_DIFFER = timedelta(hours=1)  # clocks of nodes differ by seconds; a cursor further ahead than that was set by a clock that was wrong
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 30.0


class Owner(Protocol):
    """What the ticker asks of its trigger."""

    async def run(self, slot: Occurrence, cursor: datetime) -> bool:
        """Decide a slot that runs; False = another node was faster, and the cursor is elsewhere. Raises: Unavailable."""
        ...

    def tell(self, passed: Passed) -> tuple[TriggerEvent, str]:
        """Return the event and the message for slots that do not run."""
        ...


class Ticker:
    """Watches the clock for one trigger, from `start` to `stop`."""

    def __init__(self, ctx: TriggerContext, slots: Slots, owner: Owner) -> None:
        self._ctx = ctx
        self._slots = slots
        self._owner = owner
        self._ring = asyncio.Event()
        self._deciding = asyncio.Lock()
        self._stopped = False
        self._stale = True  # what follows is to be read from the store again
        self._cursor: datetime | None = None
        self._ahead: _Ahead | None = None
        self._tried: datetime | None = None
        self._last: tuple[datetime, timedelta] | None = None  # the last slot that ran, and how late it was
        self._timer: AsyncIOScheduler | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._timer = _start_timer(self.look)
        self._ctx.supervise(self._watch, label="watch")
        self._ctx.supervise(self._listen, label="listen")

    async def stop(self) -> None:
        """Return when the decision that is being made is on disk; none follows."""
        self._stopped = True
        if self._timer is not None:
            self._timer.shutdown(wait=False)
            await asyncio.sleep(0)  # the scheduler shuts itself down in the loop's next round
        async with self._deciding:
            pass

    async def look(self) -> None:
        """Look at the clock again now, as the timer does every minute."""
        self._ring.set()

    async def pass_over(self, until: datetime, code: str) -> None:
        """Record the slots after the cursor up to a moment as skipped. Raises: Unavailable."""
        cursor = (await self._ctx.record()).cursor
        for passed in [] if cursor is None else self._slots.passed(cursor, until, code):
            await self._keep(passed, DeliveryStatus.SKIPPED)
        self._stale = True

    async def _listen(self) -> None:
        """Read the cursor again when somebody has paused or resumed the trigger."""
        while True:
            await self._ctx.changed()
            self._stale = True
            self._ring.set()

    async def _watch(self) -> None:
        self._stale = True
        retry_s = _FIRST_RETRY_S
        while True:
            try:
                pause_s = await self._look()
                retry_s = _FIRST_RETRY_S
            except Unavailable as error:
                asked_s = error.retry_after.total_seconds() if error.retry_after is not None else 0.0
                pause_s = max(retry_s, min(asked_s, _LAST_RETRY_S))
                retry_s = min(retry_s * 2, _LAST_RETRY_S)
                self._ctx.log.warning("cron.retry", trigger=self._ctx.name, reason=error.message, pause_s=pause_s)
                self._report(Phase.BLOCKED, error.message)
            await self._wait(pause_s)

    # ---- deciding

    async def _look(self) -> float | None:
        """Decide what is due; return the seconds until something is, None = no time. Raises: Unavailable."""
        if self._ctx.paused:
            self._report(Phase.PAUSED)
            return None
        cursor, ahead = await self._read()
        now = self._ctx.clock.now()
        if ahead.alone_and_in_time(now):
            if await self._run(ahead.first()):
                ahead.step()
        elif ahead.due(now):
            self._ahead = None  # the plan takes its own look, and may end halfway
            await self._catch_up(cursor, now)
            return 0.0
        if self._stale:
            return 0.0
        self._report(Phase.LISTENING, "" if ahead.slot else "no time fits any more", ahead.slot)
        return None if ahead.slot is None else max((ahead.slot.starts_at - self._ctx.clock.now()).total_seconds(), 0.0)

    async def _catch_up(self, cursor: datetime, now: datetime) -> None:
        plan = self._slots.plan(cursor, now, self._tried)
        for passed in plan.passed:
            self._ctx.log.warning(
                "cron.missed", trigger=self._ctx.name, first=passed.first.isoformat(), last=passed.last.isoformat(), code=passed.code
            )
            if not await self._keep(passed, DeliveryStatus.MISSED):
                self._stale = True  # another node has told of a part of them, as many as there were when it looked
                return
            self._cursor = passed.last
        for slot in plan.runs:
            if not await self._run(slot):
                return

    async def _run(self, slot: Occurrence) -> bool:
        self._tried = slot.nominal
        cursor = self._cursor or slot.nominal
        if not await self._decide(partial(self._owner.run, slot, cursor)):
            self._stale = True
            return False
        self._cursor = slot.nominal
        self._last = (slot.nominal, max(self._ctx.clock.now() - slot.starts_at, timedelta(0)))
        return True

    async def _keep(self, passed: Passed, status: DeliveryStatus) -> bool:
        """Store the row that tells of slots; False = another node was faster with one of them."""
        event, message = self._owner.tell(passed)
        keep = partial(self._ctx.keep, event, status, code=passed.code, message=message, since=passed.first)
        return await self._decide(keep) is not None

    async def _decide(self, decision: Callable[[], Awaitable[T]]) -> T:
        async with self._deciding:
            if self._stopped:
                raise Unavailable(f'trigger "{self._ctx.name}" is stopping')
            return await decision()

    # ---- the cursor and the clock

    async def _read(self) -> tuple[datetime, _Ahead]:
        """Return where the schedule has come to, and what follows."""
        if self._stale:
            self._stale, self._ahead, self._cursor = False, None, None
        cursor, now = self._cursor, self._ctx.clock.now()
        while cursor is None or cursor - now > _NODES_DIFFER:
            if cursor is not None:
                self._ctx.log.warning("cron.clock_set_back", trigger=self._ctx.name, by_s=(cursor - now).total_seconds())
                await self._ctx.move_cursor(cursor, now)
            self._ahead = None
            cursor = (await self._ctx.record()).cursor or now
        self._cursor = cursor
        self._ahead = self._ahead or _Ahead(self._slots, cursor)
        return cursor, self._ahead

    async def _wait(self, seconds: float | None) -> None:
        """Return when that time has passed on the hub's clock, or earlier when the timer rings."""
        self._ring.clear()
        async with asyncio.TaskGroup() as group:
            nap = group.create_task(self._nap(seconds))
            await self._ring.wait()
            nap.cancel()

    async def _nap(self, seconds: float | None) -> None:
        if seconds is not None:
            await self._ctx.clock.sleep(seconds)
            self._ring.set()

    def _report(self, phase: Phase, message: str = "", following: Occurrence | None = None) -> None:
        facts: dict[str, object] = {} if following is None else {"next_at": following.starts_at.isoformat()}
        if self._last is not None:
            facts |= {"last_nominal": self._last[0].isoformat(), "lag_s": round(self._last[1].total_seconds(), 3)}
        self._ctx.report(phase, message, **facts)


class _Ahead:
    """The next slot and the one after it: so the calendar need not be asked again for each slot that comes in time."""

    def __init__(self, slots: Slots, cursor: datetime) -> None:
        self._rest = slots.after(cursor)
        self.slot = next(self._rest, None)
        self._following = next(self._rest, None)

    def first(self) -> Occurrence:
        """Return the next slot. Only where there is one."""
        if self.slot is None:
            raise LookupError
        return self.slot

    def due(self, now: datetime) -> bool:
        """Whether a slot has started."""
        return self.slot is not None and self.slot.starts_at <= now

    def alone_and_in_time(self, now: datetime) -> bool:
        """Whether one slot has started just now, and no other."""
        alone = self._following is None or now < self._following.starts_at
        return alone and self.slot is not None and self.slot.starts_at <= now <= self.slot.starts_at + ON_TIME

    def step(self) -> None:
        """Go on to the next slot."""
        self.slot, self._following = self._following, next(self._rest, None)


def _start_timer(look: Callable[[], Awaitable[None]]) -> AsyncIOScheduler:
    """Start APScheduler with one job in memory: look at the clock again, once however late it comes."""
    logging.getLogger("apscheduler").setLevel(logging.WARNING)  # it reports every run of every job as information
    timer = AsyncIOScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1})
    timer.add_job(look, "interval", seconds=LOOK_AGAIN_S)
    timer.start()
    return timer
