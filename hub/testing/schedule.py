"""One occurrence of a schedule, emitted by the real trigger as if its time had just come.

Owns a clock of its own for that trigger; the clock of the workflows does not move.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hub.core.delivery import Receipt, TriggerEvent
from hub.core.ports import Log
from hub.engine.context import TriggerSpec
from hub.engine.embedded import EmbeddedEngine
from hub.engine.hosting import HostedTrigger
from hub.testing.virtual import VirtualClock

_JUST_BEFORE = timedelta(milliseconds=1)


async def occur(spec: TriggerSpec, at: datetime | None, now: datetime, engine: EmbeddedEngine, log: Log) -> Receipt:
    """Emit the occurrence at a nominal time (None = the next one after now); return the receipt when it is on disk.

    Raises: ValueError when the trigger is no schedule, or has no occurrence then; Rejected.
    """
    nominal = _nominal(spec, at, now)
    emitted: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

    async def emit(trigger: str, workflow: str | None, event: TriggerEvent) -> Receipt:
        try:
            receipt = await engine.emit(trigger, workflow, event)
        except Exception as error:
            emitted.set_exception(error)
            raise
        emitted.set_result(receipt)
        return receipt

    begun = timedelta(seconds=asyncio.get_running_loop().time())
    clock = VirtualClock(nominal - _JUST_BEFORE - begun)
    hosted = HostedTrigger(spec, replace(engine.services("test"), emit=emit, clock=clock, log=log))
    await hosted.start()
    try:
        return await emitted
    finally:
        await hosted.stop()


def _nominal(spec: TriggerSpec, at: datetime | None, now: datetime) -> datetime:
    schedule: Any = spec.trigger
    if not hasattr(schedule, "next_times"):
        raise ValueError(f'the trigger "{spec.name}" is no schedule; only schedules have occurrences')
    if at is not None and at.tzinfo is None:
        raise ValueError(f'the time {at} has no time zone; write datetime(…, tzinfo=UTC), or with ZoneInfo("Europe/Berlin")')
    [following] = schedule.next_times(1, after=now if at is None else at - timedelta(microseconds=1))
    if at is not None and following != at:
        raise ValueError(f'the schedule "{spec.name}" has no occurrence at {at.astimezone(UTC)}; the next one is {following}')
    nominal: datetime = following
    return nominal
