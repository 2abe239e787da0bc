"""Schedules. Owns when a cron expression occurs, and the loop that emits each occurrence once its time has come.

An occurrence is (trigger, nominal UTC time): the nominal time is the event's key, so any number of nodes may tick the same schedule
and a repeated look at the clock creates nothing twice. Never holds a lock on a run and never decides by the machine's clock: time is
the hub's `Clock`. APScheduler is only the in-process timer that makes the loop look again; what is due is computed here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import ClassVar

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from hub.core.delivery import TriggerEvent
from hub.core.errors import Rejected, Unavailable
from hub.core.model import Schedule, Source
from hub.core.ports import TriggerContext
from triggers._calendar import Calendar, check_timezone
from triggers._expression import parse, spaced

_MAX_ID_CHARS = 271
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9, */#_-]")

LOOK_AGAIN_S = 60  # a suspended machine and a corrected clock are noticed this soon
_MAX_PENDING = 1000  # occurrences that wait for an absent store: 16 hours of an every-minute schedule
_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 30.0


def occurrence_id(cron: str, nominal: datetime, suffix: str = "") -> str:
    """Return the instance id of an occurrence, `{cron}-{ms}`: every node, and every restart, makes the same one."""
    return _NOT_IN_IDS.sub("_", f"{cron}-{int(nominal.timestamp() * 1000)}{suffix}")[:_MAX_ID_CHARS]


# ---- the trigger


class CronConfig(BaseModel):
    """The keys of a `[[triggers]]` table with `kind = "cron"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cron: str = Field(description="Five fields: minute, hour, day of the month, month, day of the week (0 or 7 = Sunday).")
    timezone: str = Field(default="UTC", description="IANA name of the zone whose wall clock the expression is read on.")
    payload: JsonValue = Field(default_factory=dict, description="The payload of every instance.")

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, cron: str) -> str:
        parse(cron)
        return spaced(cron)

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, name: str) -> str:
        return check_timezone(name).key


class CronTrigger:
    """One schedule: each occurrence becomes one instance, retried for as long as the store is away.

    A jump of the clock or a long suspend makes up the last missed occurrence and no other; a clock that was set back is followed.
    """

    Config: ClassVar[type] = CronConfig

    def __init__(self, config: CronConfig) -> None:
        self._config = config
        self._calendar = Calendar(parse(config.cron), check_timezone(config.timezone))
        self._timer: AsyncIOScheduler | None = None
        self._ring = asyncio.Event()
        self._pending: deque[datetime] = deque()
        self._news = asyncio.Event()
        self._emitting = asyncio.Lock()
        self._stopped = False

    def next_times(self, count: int, *, after: datetime) -> list[datetime]:
        """Return the next nominal times as UTC, for previews."""
        return list(islice(self._calendar.after(after), count))

    async def look(self) -> None:
        """Look at the clock again now, as the timer does every minute."""
        self._ring.set()

    async def start(self, ctx: TriggerContext) -> None:
        """Begin to watch the clock; occurrences before this moment are not made up."""
        self._stopped = False
        self._timer = self._start_timer()
        ctx.supervise(partial(self._watch, ctx, _Cursor(ctx.clock.now())), label="watch")
        ctx.supervise(partial(self._deliver, ctx), label="deliver")

    async def stop(self) -> None:
        """Stop the timer and wait for the occurrence that is being emitted."""
        self._stopped = True
        if self._timer is not None:
            self._timer.shutdown(wait=False)
            self._timer = None
            await asyncio.sleep(0)  # the scheduler shuts itself down in the loop's next round
        async with self._emitting:
            pass

    def _start_timer(self) -> AsyncIOScheduler:
        """Start APScheduler with one job in memory: look at the clock again, once however late it comes."""
        logging.getLogger("apscheduler").setLevel(logging.WARNING)  # it reports every run of every job as information
        timer = AsyncIOScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1})
        timer.add_job(self.look, "interval", seconds=LOOK_AGAIN_S)
        timer.start()
        return timer

    async def _watch(self, ctx: TriggerContext, cursor: _Cursor) -> None:
        """Put each occurrence into the queue when the clock reaches it."""
        upcoming = self._next_after(cursor.seen)
        while True:
            now = ctx.clock.now()
            if now < cursor.seen:
                ctx.log.info("cron.clock_set_back", cron=self._config.cron, by_s=(cursor.seen - now).total_seconds())
                upcoming = self._next_after(now)
            elif now >= upcoming:
                self._note(ctx, first=upcoming, last=self._calendar.last(1, cursor.seen, now)[0])
                upcoming = self._next_after(now)
            cursor.seen = now
            await self._wait(ctx, (upcoming - now).total_seconds())

    def _next_after(self, moment: datetime) -> datetime:
        return self._calendar.next_after(moment) or datetime.max.replace(tzinfo=UTC)

    def _note(self, ctx: TriggerContext, *, first: datetime, last: datetime) -> None:
        if first != last:
            ctx.log.warning("cron.missed", cron=self._config.cron, first=first.isoformat(), made_up=last.isoformat())
        if len(self._pending) >= _MAX_PENDING:
            ctx.log.error("cron.dropped", cron=self._config.cron, nominal=last.isoformat(), reason=f"{_MAX_PENDING} occurrences wait")
            return
        self._pending.append(last)
        self._news.set()

    async def _wait(self, ctx: TriggerContext, seconds: float) -> None:
        """Return when that time has passed on the hub's clock, or earlier when the timer rings."""
        self._ring.clear()
        async with asyncio.TaskGroup() as group:
            nap = group.create_task(ctx.clock.sleep(seconds))
            nap.add_done_callback(lambda _: self._ring.set())
            await self._ring.wait()
            nap.cancel()

    async def _deliver(self, ctx: TriggerContext) -> None:
        """Emit what is in the queue, in order; an occurrence leaves it when it is on disk, or refused for good."""
        while True:
            await self._news.wait()
            while self._pending:
                await self._emit(ctx, self._pending[0])
                self._pending.popleft()
            self._news.clear()

    async def _emit(self, ctx: TriggerContext, nominal: datetime) -> None:
        pause_s = _FIRST_RETRY_S
        while True:
            try:
                async with self._emitting:
                    if not self._stopped:
                        await ctx.emit(self._event(ctx.name, nominal))
                return
            except Rejected as error:
                ctx.log.error("cron.rejected", cron=self._config.cron, nominal=nominal.isoformat(), reason=error.message)
                return
            except Unavailable as error:
                ctx.log.warning("cron.retry", nominal=nominal.isoformat(), reason=error.message, pause_s=pause_s)
            await ctx.clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LAST_RETRY_S)

    def _event(self, trigger: str, nominal: datetime) -> TriggerEvent:
        config = self._config
        # The plain id means "this expression at this time". A schedule that adds something of its own must not collide with it.
        plain = config.timezone == "UTC" and config.payload == {}
        return TriggerEvent(
            payload=config.payload,
            key=nominal.isoformat(),
            occurred_at=nominal,
            instance_id=occurrence_id(config.cron, nominal, "" if plain else f"-{trigger}"),
            schedule=Schedule(cron=config.cron, scheduled_at=nominal),
            source=Source.CRON,
        )


@dataclass(slots=True)
class _Cursor:
    """Up to when the clock has been looked at. Outlives a failed loop, so that its successor misses nothing."""

    seen: datetime
