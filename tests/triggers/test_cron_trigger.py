"""The cron trigger under a clock that the test moves: what is emitted when, and what happens when the store or the clock misbehaves."""

from __future__ import annotations

import asyncio
import gc
import weakref
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

import triggers.cron
from hub.core.delivery import Receipt, TriggerEvent
from hub.core.errors import Rejected, Unavailable
from hub.core.model import Schedule, Source
from tests.triggers.hosted import Hosted, settle
from triggers.cron import CronConfig, CronTrigger

MINUTE = timedelta(minutes=1)


def every_minute() -> CronTrigger:
    return CronTrigger(CronConfig(cron="* * * * *"))


def minutes(hosted: Hosted) -> list[str]:
    return [event.occurred_at.strftime("%H:%M") for event in hosted.events if event.occurred_at is not None]


async def test_occurrence_is_emitted_at_its_time_with_its_nominal_time_as_key(hosted: Hosted) -> None:
    await hosted.host(tick=CronTrigger(CronConfig(cron="*/5 * * * *")))
    await hosted.clock.advance(timedelta(minutes=4))
    assert hosted.events == []
    await hosted.clock.advance(timedelta(seconds=30))
    nominal = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    assert hosted.events == [
        TriggerEvent(
            payload={},
            key="2026-03-01T12:05:00+00:00",
            occurred_at=nominal,
            instance_id="*/5 * * * *-1772366700000",
            schedule=Schedule(cron="*/5 * * * *", scheduled_at=nominal),
            source=Source.CRON,
        )
    ]


async def test_every_occurrence_is_emitted_once_and_in_order(hosted: Hosted) -> None:
    await hosted.host(tick=every_minute())
    await hosted.clock.advance(timedelta(minutes=5))
    assert minutes(hosted) == ["12:01", "12:02", "12:03", "12:04", "12:05"]


async def test_schedule_with_a_payload_or_a_zone_gets_ids_of_its_own(hosted: Hosted) -> None:
    """Two schedules of one workflow may share an expression; both must run."""
    await hosted.host(
        plain=every_minute(),
        north=CronTrigger(CronConfig(cron="* * * * *", payload={"region": "north"})),
        berlin=CronTrigger(CronConfig(cron="* * * * *", timezone="Europe/Berlin")),
    )
    given: list[TriggerEvent] = []

    async def accept(event: TriggerEvent) -> Receipt:
        given.append(event)
        return await hosted.accept(event)

    hosted.answer = accept
    await hosted.clock.advance(MINUTE)
    ids = sorted(str(event.instance_id) for event in given)
    stem = "* * * * *-1772366460000"
    assert ids == [stem, f"{stem}-berlin", f"{stem}-north"]
    assert {"region": "north"} in [event.payload for event in given]


async def test_jump_of_the_clock_makes_up_the_last_missed_occurrence_and_no_other(hosted: Hosted) -> None:
    await hosted.host(tick=every_minute())
    await hosted.clock.advance(MINUTE)
    hosted.clock.jump(timedelta(hours=30))
    await hosted.clock.advance(MINUTE)
    assert minutes(hosted) == ["12:01", "18:02"]
    await hosted.clock.advance(MINUTE)
    assert minutes(hosted) == ["12:01", "18:02", "18:03"]


async def test_suspended_machine_is_noticed_by_the_timer_before_the_sleep_ends(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock has passed nine, the monotonic one has not moved: only APScheduler's look at the clock can tell."""
    monkeypatch.setattr(triggers.cron, "LOOK_AGAIN_S", 0.02)
    emitted = asyncio.Event()

    async def accept(event: TriggerEvent) -> Receipt:
        emitted.set()
        return await hosted.accept(event)

    hosted.answer = accept
    await hosted.host(tick=CronTrigger(CronConfig(cron="0 9 * * *")))
    await hosted.clock.until_asleep()
    hosted.clock.jump(timedelta(hours=22))
    await asyncio.wait_for(emitted.wait(), 60)  # of virtual seconds: APScheduler's own clock is the machine's
    await settle()
    assert minutes(hosted) == ["09:00"]


async def test_clock_that_was_set_back_is_followed_and_creates_nothing_twice(hosted: Hosted) -> None:
    """It had been years ahead: waiting for it to get there again would be a dead timer."""
    trigger = every_minute()
    await hosted.host(tick=trigger)
    await hosted.clock.advance(timedelta(minutes=3))
    hosted.clock.jump(-timedelta(minutes=2))
    await trigger.look()
    await hosted.clock.advance(timedelta(minutes=3))
    assert minutes(hosted) == ["12:01", "12:02", "12:03", "12:04"]
    hosted.clock.jump(-timedelta(days=3650))
    await trigger.look()
    await hosted.clock.advance(MINUTE)
    assert len(hosted.events) == 5
    assert hosted.events[-1].occurred_at is not None
    assert hosted.events[-1].occurred_at.year == 2016


async def test_occurrences_of_an_outage_are_all_emitted_when_the_store_is_back(hosted: Hosted) -> None:
    async def away(_event: TriggerEvent) -> Receipt:
        raise Unavailable("disk is full")

    hosted.answer = away
    await hosted.host(tick=every_minute())
    await hosted.clock.advance(timedelta(minutes=3))
    assert hosted.events == []
    hosted.answer = hosted.accept
    await hosted.clock.advance(MINUTE)
    assert minutes(hosted) == ["12:01", "12:02", "12:03", "12:04"]


async def test_retries_of_an_absent_store_back_off(hosted: Hosted) -> None:
    tries: list[datetime] = []

    async def away(_event: TriggerEvent) -> Receipt:
        tries.append(hosted.clock.now())
        raise Unavailable

    hosted.answer = away
    await hosted.host(tick=CronTrigger(CronConfig(cron="1 12 * * *")))
    await hosted.clock.advance(timedelta(minutes=10))
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(tries)]
    assert pauses[:6] == [1, 2, 4, 8, 16, 30]
    assert set(pauses[6:]) == {30}


async def test_rejected_occurrence_does_not_stop_the_schedule(hosted: Hosted) -> None:
    async def reject(_event: TriggerEvent) -> Receipt:
        raise Rejected("no such workflow")

    hosted.answer = reject
    await hosted.host(tick=every_minute())
    await hosted.clock.advance(MINUTE)
    hosted.answer = hosted.accept
    await hosted.clock.advance(MINUTE)
    assert minutes(hosted) == ["12:02"]


async def test_unexpected_error_neither_kills_the_timer_nor_loses_the_occurrence(hosted: Hosted) -> None:
    async def broken(_event: TriggerEvent) -> Receipt:
        raise RuntimeError("a bug")

    hosted.answer = broken
    await hosted.host(tick=every_minute())
    await hosted.clock.advance(MINUTE)
    hosted.answer = hosted.accept
    await hosted.clock.advance(timedelta(minutes=2))
    assert minutes(hosted) == ["12:01", "12:02", "12:03"]


async def test_stop_waits_for_the_occurrence_that_is_being_emitted_and_nothing_follows(hosted: Hosted) -> None:
    asked, durable = asyncio.Event(), asyncio.Event()

    async def slow(event: TriggerEvent) -> Receipt:
        asked.set()
        await durable.wait()
        return await hosted.accept(event)

    hosted.answer = slow
    await hosted.host(tick=every_minute())
    moving = asyncio.create_task(hosted.clock.advance(timedelta(minutes=3)))
    await asked.wait()
    await moving
    stopping = asyncio.create_task(hosted.stop())
    await settle()
    assert not stopping.done()
    durable.set()
    await stopping
    await hosted.clock.advance(timedelta(hours=1))
    assert minutes(hosted) == ["12:01"]


async def test_stop_is_safe_twice_and_without_start() -> None:
    trigger = every_minute()
    await trigger.stop()
    await trigger.stop()


async def test_nothing_keeps_a_stopped_trigger_alive(hosted: Hosted) -> None:
    """A timer that still ran would hold it."""
    trigger = every_minute()
    await hosted.host(tick=trigger)
    await hosted.clock.until_asleep()
    await hosted.stop()
    await settle()
    stopped = weakref.ref(trigger)
    del trigger
    gc.collect()
    assert stopped() is None
