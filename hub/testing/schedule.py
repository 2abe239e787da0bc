"""One occurrence of a schedule, emitted as if its time had just come. The clock of the workflows does not move."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hub.core.delivery import Receipt, ReceiptStatus
from hub.core.ports import Scheduled
from hub.engine.context import TriggerSpec
from hub.engine.embedded import EmbeddedEngine


async def occur(spec: TriggerSpec, at: datetime | None, now: datetime, engine: EmbeddedEngine) -> Receipt:
    """Emit the occurrence at a nominal time (None = the next one after now); return the receipt when it is on disk.

    Raises: ValueError when the trigger is no schedule, has no occurrence then, or skips it; Rejected.
    """
    schedule = spec.trigger
    if not isinstance(schedule, Scheduled):
        raise ValueError(f'the trigger "{spec.name}" is no schedule; only schedules have occurrences')
    if spec.workflow is None:
        raise ValueError(f'the schedule "{spec.name}" calls the handler; test that with `scheduled(cron, at)`')
    nominal = _nominal(schedule, spec.name, at, now)
    receipt = await engine.emit(spec.name, spec.workflow, replace(schedule.event(spec.name, nominal), cursor=None))
    if receipt.status is ReceiptStatus.FILTERED:
        blocking = f': "{receipt.instance_id}" has not ended' if receipt.instance_id else ""
        raise ValueError(f'the schedule "{spec.name}" skips its occurrence at {nominal} ({receipt.reason}){blocking}')
    return receipt


def _nominal(schedule: Scheduled, name: str, at: datetime | None, now: datetime) -> datetime:
    if at is not None and at.tzinfo is None:
        raise ValueError(f'the time {at} has no time zone; write datetime(…, tzinfo=UTC), or with ZoneInfo("Europe/Berlin")')
    following = schedule.preview(now if at is None else at - timedelta(microseconds=1), 1)
    if at is not None and (not following or following[0].nominal != at):
        told = f"the next one is {following[0].nominal}" if following else "nor any later"
        raise ValueError(f'the schedule "{name}" has no occurrence at {at.astimezone(UTC)}; {told}')
    if not following:
        raise ValueError(f'the schedule "{name}" has no further occurrence')
    return following[0].nominal
