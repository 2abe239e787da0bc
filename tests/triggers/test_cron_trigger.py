"""The cron trigger on virtual time and a real store: what runs when, and what is told of the rest, also when store or clock misbehave."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from hub.core.codec import decode
from hub.core.deliveries import decode_event
from hub.core.delivery import Delivery, DeliveryQuery, DeliveryStatus, Phase, Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import ConfigError, Overloaded, Rejected, Unavailable
from hub.core.flow import Overlap
from hub.core.model import InstanceQuery, Schedule, Source
from hub.core.ports import Scheduled
from hub.core.scheduled import ScheduledController
from hub.engine.context import TriggerSpec
from hub.engine.hosting import Hosting
from hub.engine.ledger import Finding, Ledger
from tests.triggers.hosted import Hosted, settle
from triggers import _ticker
from triggers.cron import CronConfig, CronTrigger

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def cron(expression: str = "* * * * *", **options: Any) -> CronTrigger:
    return CronTrigger(CronConfig(cron=expression, **options))


def minutes(hosted: Hosted) -> list[str]:
    return [event.occurred_at.strftime("%H:%M") for event in hosted.events if event.occurred_at is not None]


async def rows(hosted: Hosted, *statuses: DeliveryStatus) -> list[Delivery]:
    """Return the stored deliveries, oldest first."""
    query = DeliveryQuery(statuses=frozenset(statuses), ascending=True, limit=1000, heads=False)
    return list((await hosted.engine.find(query)).items)


async def told(hosted: Hosted) -> list[tuple[str, str, str]]:
    """Return nominal time, status and reason of the slots that did not run."""
    return [(f"{row.occurred_at:%H:%M}", row.status.value, row.code) for row in await rows(hosted)]


async def restart(hosted: Hosted, away: timedelta, **triggers: CronTrigger) -> None:
    """Stop the hub, and start it again after a time."""
    await hosted.stop()
    await hosted.clock.advance(away)
    await hosted.host(**triggers)
    await settle()


async def pause(hosted: Hosted, name: str = "tick") -> None:
    await hosted.engine.ledger.steer(name, paused=True)
    await hosted.hosting.refresh()


async def resume(hosted: Hosted, trigger: CronTrigger, name: str = "tick") -> None:
    await trigger.pass_over(hosted.clock.now())
    await hosted.engine.ledger.steer(name, paused=False)
    await hosted.hosting.refresh()


def facts(hosted: Hosted, name: str = "tick") -> tuple[Phase, dict[str, Any]]:
    health = hosted.hosting.hosted[name].health
    return health.phase, dict(health.facts)


# ---- what a slot becomes


async def test_a_slot_is_emitted_at_its_time_with_its_nominal_time_as_key(hosted: Hosted) -> None:
    await hosted.host(tick=cron("*/5 * * * *"))
    await hosted.clock.advance(timedelta(minutes=4))
    assert hosted.events == []
    await hosted.clock.advance(timedelta(seconds=30))
    nominal = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    times = [(nominal + timedelta(minutes=shift)).isoformat() for shift in (-5, 0, 5, 10, 15)]
    assert hosted.events == [
        TriggerEvent(
            payload={},
            key="2026-03-01T12:05:00+00:00",
            metadata={"nominal_time": times[1], "scheduled_time": times[1], "previous_time": times[0], "next_times": times[2:]},
            occurred_at=nominal,
            instance_id="*/5 * * * *-1772366700000",
            schedule=Schedule(cron="*/5 * * * *", scheduled_at=nominal),
            source=Source.CRON,
            cursor=nominal,
        )
    ]


async def test_the_instance_of_a_slot_and_the_cursor_are_stored_together(hosted: Hosted) -> None:
    await hosted.host(tick=cron(payload={"n": 1}))
    await hosted.clock.advance(MINUTE)
    [instance] = (await hosted.engine.find(InstanceQuery(heads=False))).items
    nominal = datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
    assert (instance.id, instance.source, instance.trigger) == ("* * * * *-1772366460000-tick", Source.CRON, "tick")
    assert instance.schedule == Schedule(cron="* * * * *", scheduled_at=nominal)
    assert (await hosted.engine.ledger.record("tick")).cursor == nominal
    assert decode(instance.provenance or b"")["metadata"]["nominal_time"] == nominal.isoformat()


async def test_every_slot_is_emitted_once_and_in_order(hosted: Hosted) -> None:
    await hosted.host(tick=cron())
    await hosted.clock.advance(timedelta(minutes=5))
    assert minutes(hosted) == ["12:01", "12:02", "12:03", "12:04", "12:05"]
    assert await rows(hosted) == []


async def test_a_schedule_with_a_payload_or_a_zone_gets_ids_of_its_own(hosted: Hosted) -> None:
    """Two schedules of one workflow may share an expression; both must run."""
    await hosted.host(plain=cron(), north=cron(payload={"region": "north"}), berlin=cron(timezone="Europe/Berlin"))
    await hosted.clock.advance(MINUTE)
    stem = "* * * * *-1772366460000"
    assert sorted(str(event.instance_id) for event in hosted.events) == [stem, f"{stem}-berlin", f"{stem}-north"]
    assert {"region": "north"} in [event.payload for event in hosted.events]


async def test_two_schedules_that_are_alike_in_all_share_their_instances(hosted: Hosted) -> None:
    await hosted.host(one=cron(), other=cron())
    await hosted.clock.advance(2 * MINUTE)
    assert len((await hosted.engine.find(InstanceQuery())).items) == 2
    assert {(await hosted.engine.ledger.record(name)).cursor for name in ("one", "other")} == {datetime(2026, 3, 1, 12, 2, tzinfo=UTC)}
    assert await rows(hosted) == []


async def test_slots_with_seconds_and_intervals_tick(hosted: Hosted) -> None:
    await hosted.host(
        fast=cron("*/20 * * * * *", seconds=True), even=cron("@every 30s"), odd=cron("@every 1m", phase="45 seconds", payload=1)
    )
    await hosted.clock.advance(timedelta(seconds=40))  # from 12:00:30
    seconds = [f"{event.occurred_at:%S} {event.schedule.cron}" for event in hosted.events if event.occurred_at and event.schedule]
    assert sorted(seconds) == ["00 */20 * * * * *", "00 @every 30s", "40 */20 * * * * *", "45 @every 1m"]


async def test_a_spread_slot_starts_later_and_keeps_its_nominal_time(hosted: Hosted) -> None:
    trigger = cron("0 * * * *", spread="30 minutes")
    await hosted.host(tick=trigger)
    [slot] = trigger.preview(hosted.clock.now(), 1)
    assert MINUTE < slot.starts_at - slot.nominal < 30 * MINUTE
    await hosted.clock.advance(slot.starts_at - hosted.clock.now() - timedelta(seconds=1))
    assert hosted.events == []
    await hosted.clock.advance(timedelta(seconds=1))
    [event] = hosted.events
    assert (event.occurred_at, event.key, event.instance_id) == (slot.nominal, slot.nominal.isoformat(), "0 * * * *-1772370000000")
    assert (event.metadata["nominal_time"], event.metadata["scheduled_time"]) == (slot.nominal.isoformat(), slot.starts_at.isoformat())


async def test_how_late_a_slot_was_and_what_comes_next_is_reported(hosted: Hosted) -> None:
    async def slow(event: TriggerEvent) -> Receipt:
        await hosted.clock.sleep(2.5)
        return await hosted.accept(event)

    hosted.answer = slow
    await hosted.host(tick=cron())
    await hosted.clock.advance(timedelta(seconds=10))
    assert facts(hosted) == (Phase.LISTENING, {"next_at": "2026-03-01T12:01:00+00:00"})
    await hosted.clock.advance(timedelta(seconds=25))
    last = {"last_nominal": "2026-03-01T12:01:00+00:00", "lag_s": 2.5}
    assert facts(hosted) == (Phase.LISTENING, {"next_at": "2026-03-01T12:02:00+00:00", **last})


async def test_a_schedule_that_ends_says_so(hosted: Hosted) -> None:
    """The calendar of the machine ends in the year 9999, and this one a little earlier."""
    hosted.clock.jump(timedelta(days=7900 * 365))
    await hosted.host(tick=cron())
    await settle()
    health = hosted.hosting.hosted["tick"].health
    assert (health.phase, health.message, health.facts) == (Phase.LISTENING, "no time fits any more", {})


# ---- slots that nobody could run


async def test_a_first_start_makes_nothing_up(hosted: Hosted) -> None:
    await hosted.host(tick=cron(catch_up="all"))
    await settle()
    assert (hosted.events, await rows(hosted)) == ([], [])


@pytest.mark.parametrize(
    ("catch_up", "run", "missed"),
    [
        ("none", [], ["12:02", "12:03", "12:04"]),
        ("last", ["12:04"], ["12:02", "12:03"]),
        ("all", ["12:02", "12:03", "12:04"], []),
    ],
)
async def test_after_a_restart_the_policy_says_what_is_made_up_and_the_rest_is_told(
    hosted: Hosted, catch_up: str, run: list[str], missed: list[str]
) -> None:
    await hosted.host(tick=cron(catch_up=catch_up, overlap="allow"))
    await hosted.clock.advance(MINUTE)
    await restart(hosted, timedelta(minutes=3), tick=cron(catch_up=catch_up, overlap="allow"))
    assert minutes(hosted) == ["12:01", *run]
    assert await told(hosted) == [(minute, "missed", f"catch_up.{catch_up}") for minute in missed]
    await hosted.clock.advance(MINUTE)
    assert minutes(hosted)[-1] == "12:05"


async def test_a_missed_slot_is_stored_with_its_event_and_a_reason_for_people(hosted: Hosted) -> None:
    await hosted.host(tick=cron(catch_up="none", payload={"n": 1}))
    await restart(hosted, MINUTE, tick=cron(catch_up="none", payload={"n": 1}))
    [row] = await rows(hosted)
    event = decode_event(row.event)
    assert (row.trigger, row.workflow, row.key, row.message) == (
        "tick",
        "orders",
        "2026-03-01T12:01:00+00:00",
        "nobody was there to run it; `catch_up` is none",
    )
    assert (event.payload, event.schedule) == ({"n": 1}, Schedule(cron="* * * * *", scheduled_at=datetime(2026, 3, 1, 12, 1, tzinfo=UTC)))


async def test_an_outage_longer_than_the_window_leaves_two_rows_and_one_run(hosted: Hosted) -> None:
    await hosted.host(tick=cron())
    await restart(hosted, 3 * DAY, tick=cron())
    assert minutes(hosted) == ["12:00"]
    old, missed = await rows(hosted)
    assert (old.code, old.status, old.key) == (
        "catch_up.window",
        DeliveryStatus.MISSED,
        "2026-03-01T12:01:00+00:00/2026-03-03T12:00:00+00:00",
    )
    assert old.message.startswith("2,880 slots from 2026-03-01T12:01:00+00:00 to 2026-03-03T12:00:00+00:00: ")
    metadata = decode_event(old.event).metadata
    assert (metadata["count"], metadata["first"], metadata["last"]) == (2880, "2026-03-01T12:01:00+00:00", "2026-03-03T12:00:00+00:00")
    assert (missed.code, decode_event(missed.event).metadata["count"]) == ("catch_up.last", 1439)
    assert (await hosted.engine.ledger.record("tick")).cursor == datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


async def test_a_restart_in_between_loses_and_doubles_nothing(hosted: Hosted) -> None:
    await hosted.host(tick=cron())
    for _ in range(5):
        await hosted.clock.advance(timedelta(seconds=55))
        await restart(hosted, timedelta(seconds=5), tick=cron())
    assert minutes(hosted) == ["12:01", "12:02", "12:03", "12:04", "12:05"]


async def test_a_changed_schedule_starts_from_now(hosted: Hosted) -> None:
    async def host(digest: str) -> None:
        await hosted.host_specs(TriggerSpec("tick", "orders", cron(catch_up="all"), kind="cron", digest=digest))

    await host("1")
    await hosted.stop()
    await hosted.clock.advance(10 * MINUTE)
    await host("2")
    await settle()
    assert (hosted.events, await rows(hosted)) == ([], [])


async def test_a_jump_of_the_clock_makes_up_the_last_slot_and_tells_of_the_others(hosted: Hosted) -> None:
    await hosted.host(tick=cron())
    await hosted.clock.advance(MINUTE)
    hosted.clock.jump(30 * HOUR)
    await hosted.clock.advance(MINUTE)
    assert minutes(hosted) == ["12:01", "18:02"]
    assert [row.code for row in await rows(hosted)] == ["catch_up.window", "catch_up.last"]
    await hosted.clock.advance(MINUTE)
    assert minutes(hosted) == ["12:01", "18:02", "18:03"]


async def test_a_suspended_machine_is_noticed_by_the_timer_before_the_sleep_ends(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock has passed nine, the monotonic one has not moved: only APScheduler's look at the clock can tell."""
    monkeypatch.setattr(_ticker, "LOOK_AGAIN_S", 0.02)
    await hosted.host(tick=cron("0 9 * * *"))
    await settle()
    hosted.clock.jump(22 * HOUR)
    while not hosted.events:
        await hosted.clock.sleep(0.01)
    assert minutes(hosted) == ["09:00"]
    assert hosted.clock.now() < datetime(2026, 3, 2, 11, tzinfo=UTC)


async def test_a_clock_that_was_set_back_a_little_runs_nothing_twice(hosted: Hosted) -> None:
    trigger = cron()
    await hosted.host(tick=trigger)
    await hosted.clock.advance(timedelta(minutes=3))
    hosted.clock.jump(-timedelta(minutes=2))
    await trigger.look()
    await hosted.clock.advance(timedelta(minutes=3))
    assert minutes(hosted) == ["12:01", "12:02", "12:03", "12:04"]


async def test_a_clock_that_was_years_ahead_is_followed_back(hosted: Hosted) -> None:
    """Waiting for it to get there again would be a dead timer, also after a restart."""
    hosted.clock.jump(timedelta(days=3650))
    await hosted.host(tick=cron())
    await hosted.clock.advance(MINUTE)
    hosted.clock.jump(-timedelta(days=3650))
    await restart(hosted, MINUTE, tick=cron())
    await hosted.clock.advance(MINUTE)
    assert [event.occurred_at.year for event in hosted.events if event.occurred_at] == [2036, 2026]


# ---- back-pressure and errors


async def test_a_slot_that_the_hub_cannot_take_is_tried_again_with_growing_pauses(hosted: Hosted) -> None:
    tries: list[datetime] = []

    async def full(_event: TriggerEvent) -> Receipt:
        tries.append(hosted.clock.now())
        raise Overloaded("the backlog is full")

    hosted.answer = full
    await hosted.host(tick=cron("1 12 * * *", catch_up="none"))
    await hosted.clock.advance(timedelta(minutes=10))
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(tries)]
    assert pauses[:6] == [1, 2, 4, 8, 16, 30]
    assert set(pauses[6:]) == {30}
    assert facts(hosted)[0] is Phase.BLOCKED
    hosted.answer = hosted.accept
    await hosted.clock.advance(MINUTE)
    assert (minutes(hosted), await rows(hosted)) == (["12:01"], [])


async def test_a_slot_is_tried_until_its_window_ends_and_then_it_is_missed(hosted: Hosted) -> None:
    async def away(_event: TriggerEvent) -> Receipt:
        raise Unavailable("no room")

    hosted.answer = away
    await hosted.host(tick=cron("1 12 * * *", catch_up_window="10 minutes"))
    await hosted.clock.advance(timedelta(minutes=10))
    assert await told(hosted) == []
    await hosted.clock.advance(timedelta(minutes=2))
    assert await told(hosted) == [("12:01", "missed", "catch_up.window")]


async def test_the_pause_that_a_full_hub_asks_for_is_kept(hosted: Hosted) -> None:
    tries: list[datetime] = []

    async def full(_event: TriggerEvent) -> Receipt:
        tries.append(hosted.clock.now())
        raise Overloaded("the backlog is full", retry_after=timedelta(seconds=20))

    hosted.answer = full
    await hosted.host(tick=cron("1 12 * * *"))
    await hosted.clock.advance(timedelta(minutes=1, seconds=30))
    assert [(later - earlier).total_seconds() for earlier, later in pairwise(tries)][:3] == [20, 20, 20]


@pytest.mark.parametrize(("catch_up", "run"), [("last", ["12:03", "12:04"]), ("all", ["12:01", "12:02", "12:03", "12:04"])])
async def test_slots_of_an_outage_are_made_up_as_those_of_a_stop_are(hosted: Hosted, catch_up: str, run: list[str]) -> None:
    async def away(_event: TriggerEvent) -> Receipt:
        raise Unavailable("disk is full")

    hosted.answer = away
    await hosted.host(tick=cron(catch_up=catch_up, overlap="allow"))
    await hosted.clock.advance(timedelta(minutes=3))
    assert hosted.events == []
    hosted.answer = hosted.accept
    await hosted.clock.advance(MINUTE)
    assert minutes(hosted) == run


async def test_a_rejected_slot_is_stored_and_does_not_stop_the_schedule(hosted: Hosted) -> None:
    await hosted.host_specs(TriggerSpec("tick", "orders", cron(payload="x" * 2_000_000)))
    await hosted.clock.advance(2 * MINUTE)
    assert await told(hosted) == [("12:01", "rejected", "payload.too_large"), ("12:02", "rejected", "payload.too_large")]
    assert (await hosted.engine.ledger.record("tick")).cursor == datetime(2026, 3, 1, 12, 2, tzinfo=UTC)


async def test_an_unexpected_error_neither_kills_the_timer_nor_loses_the_slot(hosted: Hosted) -> None:
    async def broken(_event: TriggerEvent) -> Receipt:
        raise RuntimeError("a bug")

    hosted.answer = broken
    await hosted.host(tick=cron())
    await hosted.clock.advance(timedelta(seconds=40))
    hosted.answer = hosted.accept
    await hosted.clock.advance(timedelta(seconds=30))
    assert minutes(hosted) == ["12:01"]


# ---- overlaps


LONG = "slow"  # the workflow sleeps for a day


async def statuses(hosted: Hosted) -> dict[str, str]:
    """Return the status of each instance by the time of its slot."""
    page = await hosted.engine.find(InstanceQuery(ascending=True))
    return {f"{head.schedule.scheduled_at:%H:%M}": head.status.value for head in page.items if head.schedule is not None}


@pytest.mark.parametrize(
    ("overlap", "instances", "skipped"),
    [
        (None, {"12:01": "waiting"}, ["12:02", "12:03"]),
        ("skip", {"12:01": "waiting"}, ["12:02", "12:03"]),
        ("allow", {"12:01": "waiting", "12:02": "waiting", "12:03": "waiting"}, []),
        ("queue_one", {"12:01": "waiting", "12:02": "queued"}, ["12:03"]),
        ("queue_all", {"12:01": "waiting", "12:02": "queued", "12:03": "queued"}, []),
        ("cancel_running", {"12:01": "terminated", "12:02": "terminated", "12:03": "waiting"}, []),
        ("terminate_running", {"12:01": "terminated", "12:02": "terminated", "12:03": "waiting"}, []),
    ],
)
async def test_what_overlaps_is_decided_from_the_instances_and_what_is_skipped_is_told(
    hosted: Hosted, overlap: str | None, instances: dict[str, str], skipped: list[str]
) -> None:
    await hosted.host(tick=cron(payload=LONG, overlap=overlap))
    await hosted.clock.advance(3 * MINUTE)
    assert await statuses(hosted) == instances
    assert await told(hosted) == [(minute, "skipped", "overlap.skip") for minute in skipped]
    assert (await hosted.engine.ledger.record("tick")).cursor == datetime(2026, 3, 1, 12, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("overlap", "instances", "skipped"),
    [
        (None, {"12:01": "waiting", "12:02": "queued", "12:03": "queued"}, []),
        ("skip", {"12:01": "waiting"}, ["12:02", "12:03"]),
    ],
)
async def test_of_a_schedule_that_makes_up_all_none_is_skipped_unless_it_says_so(
    hosted: Hosted, overlap: str | None, instances: dict[str, str], skipped: list[str]
) -> None:
    """They come all at once, so what skips would leave one of them."""
    await hosted.host(tick=cron(payload=LONG, catch_up="all", overlap=overlap))
    await restart(hosted, 3 * MINUTE, tick=cron(payload=LONG, catch_up="all", overlap=overlap))
    assert await statuses(hosted) == instances
    assert await told(hosted) == [(minute, "skipped", "overlap.skip") for minute in skipped]


async def test_a_skipped_slot_is_counted_as_such_and_names_the_instance_in_its_way(hosted: Hosted) -> None:
    await hosted.host(tick=cron(payload=LONG))
    await hosted.clock.advance(2 * MINUTE)
    [row] = await rows(hosted)
    assert row.instance_id == "* * * * *-1772366460000-tick"
    assert hosted.engine.telemetry.events_of("tick") == {"created": 1, "skipped": 1}


async def test_the_schedule_goes_on_when_the_instance_in_the_way_has_ended_or_is_gone(hosted: Hosted) -> None:
    """What runs is asked of the instances: there is no lock that somebody could forget to give back."""
    await hosted.host(tick=cron(payload=LONG))
    await hosted.clock.advance(2 * MINUTE)
    await hosted.engine.delete("orders", "* * * * *-1772366460000-tick")
    await restart(hosted, MINUTE, tick=cron(payload=LONG))
    assert list(await statuses(hosted)) == ["12:03"]


async def test_two_schedules_of_one_workflow_do_not_stand_in_each_others_way(hosted: Hosted) -> None:
    await hosted.host(one=cron(payload=LONG), other=cron(payload=LONG))
    await hosted.clock.advance(MINUTE)
    assert len((await hosted.engine.find(InstanceQuery())).items) == 2


async def test_a_fired_run_stands_in_the_way_of_the_next_slot_and_none_in_its_own(hosted: Hosted) -> None:
    trigger = cron(payload=LONG)
    await hosted.host(tick=trigger)
    assert [(await trigger.fire()).status, (await trigger.fire()).status] == [ReceiptStatus.CREATED, ReceiptStatus.CREATED]
    assert (await trigger.fire(overlap=None)).status is ReceiptStatus.FILTERED
    await hosted.clock.advance(MINUTE)
    assert [code for _, status, code in await told(hosted) if status == "skipped"] == ["overlap.skip", "overlap.skip"]


async def test_a_backfill_runs_one_after_another(hosted: Hosted) -> None:
    trigger = cron("0 * * * *", payload=LONG)
    await hosted.host(tick=trigger)
    start = datetime(2026, 3, 1, 6, tzinfo=UTC)
    await trigger.backfill(start, start + 3 * HOUR, overlap=None, limit=10)
    await hosted.clock.advance(timedelta(seconds=10))
    assert list((await statuses(hosted)).values()) == ["waiting", "queued", "queued"]
    assert await rows(hosted) == []


# ---- two nodes


class OtherNode:
    """A second hosting on the same engine, as another node would have one."""

    def __init__(self, hosted: Hosted, **triggers: CronTrigger) -> None:
        specs = [TriggerSpec(name, "orders", trigger, kind="test") for name, trigger in triggers.items()]
        self.hosting = Hosting(specs, hosted.engine.services("local"))

    async def __aenter__(self) -> Hosting:
        await self.hosting.start()
        return self.hosting

    async def __aexit__(self, *_: object) -> None:
        await self.hosting.stop()


@pytest.mark.parametrize("payload", [{}, LONG], ids=["all run", "some are skipped"])
async def test_two_nodes_decide_every_slot_once(hosted: Hosted, payload: Any) -> None:
    await hosted.host(tick=cron(payload=payload))
    async with OtherNode(hosted, tick=cron(payload=payload)):
        await hosted.clock.advance(5 * MINUTE)
    created = list(await statuses(hosted))
    skipped = [minute for minute, _, _ in await told(hosted)]
    assert sorted(created + skipped) == ["12:01", "12:02", "12:03", "12:04", "12:05"]
    assert len(created) == (1 if payload == LONG else 5)


async def test_slots_of_which_another_node_has_told_some_are_told_once(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looked a minute earlier, when one slot less had passed, and was faster."""

    async def keep_later(
        ledger: Ledger, trigger: str, event: TriggerEvent, finding: Finding, *, cursor: datetime, **more: Any
    ) -> str | None:
        monkeypatch.undo()
        last = cursor - MINUTE
        metadata = {**event.metadata, "last": last.isoformat(), "count": event.metadata["count"] - 1}
        await ledger.keep(trigger, replace(event, key="other", metadata=metadata), finding, cursor=last, **more)
        return await ledger.keep(trigger, event, finding, cursor=cursor, **more)

    await hosted.host(tick=cron(catch_up="all", catch_up_max=2))
    monkeypatch.setattr(Ledger, "keep", keep_later)
    await restart(hosted, 10 * MINUTE, tick=cron(catch_up="all", catch_up_max=2))

    kept = [decode_event(row.event or b"").metadata for row in await rows(hosted)]
    assert [(row.get("first", row["nominal_time"])[11:16], row.get("last", row["nominal_time"])[11:16]) for row in kept] == [
        ("12:01", "12:07"),
        ("12:08", "12:08"),
    ]
    assert minutes(hosted) == ["12:09", "12:10"]


async def test_the_other_node_goes_on_alone(hosted: Hosted) -> None:
    await hosted.host(tick=cron())
    async with OtherNode(hosted, tick=cron()):
        await hosted.clock.advance(MINUTE)
        await hosted.hosting.stop()
        await hosted.clock.advance(2 * MINUTE)
        assert list(await statuses(hosted)) == ["12:01", "12:02", "12:03"]
        assert await rows(hosted) == []


async def test_a_handler_is_called_on_one_node_a_slot(hosted: Hosted) -> None:
    calls = Calls(hosted)
    await calls.host()
    spec = TriggerSpec("tick", None, cron(), handler=calls)
    other = Hosting([spec], hosted.engine.services("local"))
    await other.start()
    await hosted.clock.advance(5 * MINUTE)
    await other.stop()
    assert [f"{call.scheduled_at:%H:%M}" for call in calls.begun] == ["12:01", "12:02", "12:03", "12:04", "12:05"]


# ---- pause


async def test_slots_of_a_pause_are_told_as_skipped_and_the_schedule_goes_on_from_its_end(hosted: Hosted) -> None:
    trigger = cron(catch_up="all")
    await hosted.host(tick=trigger)
    await hosted.clock.advance(MINUTE)
    await pause(hosted)
    await hosted.clock.advance(2 * MINUTE)
    assert facts(hosted)[0] is Phase.PAUSED
    await resume(hosted, trigger)
    await hosted.clock.advance(MINUTE)
    assert minutes(hosted) == ["12:01", "12:04"]
    assert await told(hosted) == [("12:02", "skipped", "trigger.paused"), ("12:03", "skipped", "trigger.paused")]


async def test_a_long_pause_is_told_in_one_row(hosted: Hosted) -> None:
    trigger = cron()
    await hosted.host(tick=trigger)
    await pause(hosted)
    hosted.clock.jump(7 * DAY)
    await resume(hosted, trigger)
    [row] = await rows(hosted)
    assert (row.status, row.code) == (DeliveryStatus.SKIPPED, "trigger.paused")
    assert row.message.startswith("10,080 slots from 2026-03-01T12:01:00+00:00 to 2026-03-08T12:00:00+00:00: the trigger was paused")


async def test_a_pause_over_a_restart_makes_nothing_up(hosted: Hosted) -> None:
    await hosted.host(tick=cron(catch_up="all"))
    await pause(hosted)
    trigger = cron(catch_up="all")
    await restart(hosted, 3 * MINUTE, tick=trigger)
    await resume(hosted, trigger)
    await settle()
    assert hosted.events == []
    assert [nominal for nominal, _, _ in await told(hosted)] == ["12:01", "12:02", "12:03"]


async def test_what_is_fired_in_a_pause_runs_when_it_is_over(hosted: Hosted) -> None:
    trigger = cron("0 0 1 1 *")
    await hosted.host(tick=trigger)
    await pause(hosted)
    assert (await trigger.fire()).status is ReceiptStatus.HELD
    await resume(hosted, trigger)
    await hosted.clock.advance(MINUTE)
    assert len((await hosted.engine.find(InstanceQuery())).items) == 1


# ---- the operator's side


async def test_a_schedule_offers_what_operators_use() -> None:
    assert isinstance(cron(), Scheduled)


async def test_preview_lists_nominal_and_effective_times_of_the_run(hosted: Hosted) -> None:
    trigger = cron("0 9 * * *", timezone="Europe/Berlin", spread="10%")
    await hosted.host(tick=trigger)
    slots = trigger.preview(datetime(2026, 3, 27, 12, tzinfo=UTC), 3)
    assert [slot.nominal.isoformat() for slot in slots] == [
        "2026-03-28T08:00:00+00:00",
        "2026-03-29T07:00:00+00:00",
        "2026-03-30T07:00:00+00:00",
    ]
    assert all(timedelta(0) <= slot.starts_at - slot.nominal < 0.1 * DAY for slot in slots)
    assert len({slot.starts_at - slot.nominal for slot in slots}) == 3
    assert trigger.sentence() == "At 09:00 every day, Europe/Berlin time, spread over 10% of the time until the next one"


async def test_fire_runs_now_beside_the_calendar_and_what_runs_already(hosted: Hosted) -> None:
    trigger = cron("0 0 1 1 *", payload={"n": 1})
    await hosted.host(tick=trigger)
    first, second = await trigger.fire(None), await trigger.fire({"n": 2})
    assert (first.status, second.status) == (ReceiptStatus.CREATED, ReceiptStatus.CREATED)
    assert [(event.payload, event.overlap, event.key, event.cursor) for event in hosted.events] == [
        ({"n": 1}, Overlap.ALLOW, None, None),
        ({"n": 2}, Overlap.ALLOW, None, None),
    ]
    assert hosted.events[0].metadata["fired"] is True
    assert hosted.events[0].schedule == Schedule(cron="0 0 1 1 *", scheduled_at=hosted.clock.now())
    await trigger.fire(None, overlap=None)
    assert hosted.events[2].overlap is None
    await trigger.fire(None, overlap=Overlap.QUEUE_ONE)
    assert hosted.events[3].overlap is Overlap.QUEUE_ONE


async def test_a_backfill_emits_what_lies_from_its_start_to_before_its_end_once(hosted: Hosted) -> None:
    trigger = cron("0 * * * *", payload={"n": 1})
    await hosted.host(tick=trigger)
    start, end = datetime(2026, 3, 1, 6, tzinfo=UTC), datetime(2026, 3, 1, 10, tzinfo=UTC)
    dry = trigger.occurrences(start, end, 100)
    assert [f"{slot.nominal:%H:%M}" for slot in dry] == ["06:00", "07:00", "08:00", "09:00"]
    assert hosted.events == []
    part = await trigger.backfill(start, end, overlap=None, limit=3)
    assert [f"{slot.nominal:%H:%M} {receipt.status}" for slot, receipt in part] == ["06:00 created", "07:00 created", "08:00 created"]
    again = await trigger.backfill(start, end, overlap=Overlap.ALLOW, limit=100)
    assert [receipt.status.value for _, receipt in again] == ["duplicate", "duplicate", "duplicate", "created"]
    assert [event.overlap for event in hosted.events] == [Overlap.QUEUE_ALL] * 3 + [Overlap.ALLOW]
    assert (await hosted.engine.ledger.record("tick")).cursor == datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


async def test_a_missed_slot_can_be_backfilled(hosted: Hosted) -> None:
    await hosted.host(tick=cron(catch_up="none"))
    trigger = cron(catch_up="none")
    await restart(hosted, MINUTE, tick=trigger)
    missed = datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
    [(slot, receipt)] = await trigger.backfill(missed, missed + MINUTE / 2, overlap=None, limit=10)
    assert (slot.nominal, receipt.status) == (missed, ReceiptStatus.CREATED)


async def test_the_future_is_not_backfilled_nor_does_a_dry_run_say_so(hosted: Hosted) -> None:
    trigger = cron()
    await hosted.host(tick=trigger)
    with pytest.raises(Rejected, match="lies in the future"):
        await trigger.backfill(hosted.clock.now(), hosted.clock.now() + MINUTE, overlap=None, limit=10)
    with pytest.raises(Rejected, match="lies in the future"):
        trigger.occurrences(hosted.clock.now(), hosted.clock.now() + MINUTE, 10)


async def test_what_needs_the_hub_is_unavailable_before_the_start() -> None:
    with pytest.raises(Unavailable, match="not been started"):
        await cron().fire(None)
    [slot] = cron("0 9 * * *", spread="1 hour").preview(datetime(2026, 3, 1, tzinfo=UTC), 1)
    assert slot.starts_at == slot.nominal == datetime(2026, 3, 1, 9, tzinfo=UTC)


# ---- the handler


class Calls:
    """A `scheduled` handler that notes its calls."""

    def __init__(self, hosted: Hosted, *, takes: timedelta = timedelta(0), error: Exception | None = None) -> None:
        self.begun: list[ScheduledController] = []
        self.ended = 0
        self._hosted = hosted
        self._takes = takes
        self._error = error

    async def __call__(self, controller: ScheduledController) -> None:
        self.begun.append(controller)
        await self._hosted.clock.sleep(self._takes.total_seconds())
        if self._error is not None:
            raise self._error
        self.ended += 1

    async def host(self, **options: Any) -> CronTrigger:
        trigger = cron(**options)
        await self._hosted.host_specs(TriggerSpec("tick", None, trigger, handler=self))
        return trigger


async def test_a_schedule_without_workflow_calls_the_handler_once_a_slot(hosted: Hosted) -> None:
    calls = Calls(hosted)
    await calls.host(expression="*/2 * * * *")
    await hosted.clock.advance(4 * MINUTE)
    assert [(call.cron, call.scheduled_time) for call in calls.begun] == [("*/2 * * * *", 1772366520000), ("*/2 * * * *", 1772366640000)]
    assert (await hosted.engine.ledger.record("tick")).cursor == datetime(2026, 3, 1, 12, 4, tzinfo=UTC)
    assert hosted.events == []


async def test_a_controller_has_the_names_of_the_original_too() -> None:
    controller = ScheduledController("* * * * *", 1772366520000)
    assert (controller.scheduledTime, controller.type) == (1772366520000, "scheduled")
    assert controller.scheduled_at == datetime(2026, 3, 1, 12, 2, tzinfo=UTC)
    controller.no_retry()
    controller.noRetry()
    with pytest.raises(AttributeError, match="it has cron, scheduled_time"):
        _ = controller.crontab


async def test_calls_of_a_handler_overlap_unless_they_are_told_not_to(hosted: Hosted) -> None:
    calls = Calls(hosted, takes=timedelta(seconds=90))
    await calls.host()
    await hosted.clock.advance(timedelta(minutes=3, seconds=45))
    assert (len(calls.begun), calls.ended) == (4, 2)
    await hosted.stop()


async def test_a_call_that_is_skipped_for_an_earlier_one_is_told(hosted: Hosted) -> None:
    calls = Calls(hosted, takes=timedelta(seconds=90))
    await calls.host(overlap="skip")
    await hosted.clock.advance(timedelta(minutes=3, seconds=45))
    assert [f"{call.scheduled_at:%H:%M}" for call in calls.begun] == ["12:01", "12:03"]
    assert await told(hosted) == [("12:02", "skipped", "overlap.skip"), ("12:04", "skipped", "overlap.skip")]
    assert (await hosted.engine.ledger.record("tick")).cursor == datetime(2026, 3, 1, 12, 4, tzinfo=UTC)


async def test_a_handler_that_fails_is_told_and_called_again_at_the_next_slot_only(hosted: Hosted) -> None:
    calls = Calls(hosted, error=ValueError("no coffee"))
    await calls.host()
    await hosted.clock.advance(2 * MINUTE)
    assert len(calls.begun) == 2
    [first, _] = await rows(hosted)
    assert (first.status, first.code, first.message) == (DeliveryStatus.DEAD, "handler.failed", "ValueError: no coffee")


async def test_fire_calls_the_handler_now(hosted: Hosted) -> None:
    calls = Calls(hosted)
    trigger = await calls.host(expression="0 0 1 1 *")
    assert (await trigger.fire()).status is ReceiptStatus.DELIVERED
    await settle()
    assert calls.ended == 1


async def test_a_handler_has_no_backfill_nor_does_a_dry_run_say_so(hosted: Hosted) -> None:
    trigger = await Calls(hosted).host()
    with pytest.raises(Rejected, match="bind it to a workflow"):
        await trigger.backfill(hosted.clock.now() - HOUR, hosted.clock.now(), overlap=None, limit=1)
    with pytest.raises(Rejected, match="bind it to a workflow"):
        trigger.occurrences(hosted.clock.now() - HOUR, hosted.clock.now(), 1)


async def test_a_handler_knows_only_the_overlaps_that_need_no_instance(hosted: Hosted) -> None:
    with pytest.raises(ConfigError, match=r"triggers.tick.overlap: .*queue_one needs a workflow"):
        await Calls(hosted).host(overlap="queue_one")


async def test_stop_waits_for_a_handler_that_is_about_to_end(hosted: Hosted) -> None:
    calls = Calls(hosted, takes=timedelta(seconds=5))
    await calls.host()
    await hosted.clock.advance(timedelta(seconds=31))
    await hosted.stop()
    assert calls.ended == 1


# ---- start and stop


async def test_stop_waits_for_the_slot_that_is_being_decided_and_nothing_follows(hosted: Hosted) -> None:
    asked, durable = asyncio.Event(), asyncio.Event()

    async def slow(event: TriggerEvent) -> Receipt:
        asked.set()
        await durable.wait()
        return await hosted.accept(event)

    hosted.answer = slow
    await hosted.host(tick=cron())
    moving = asyncio.create_task(hosted.clock.advance(timedelta(minutes=3)))
    await asked.wait()
    await moving
    stopping = asyncio.create_task(hosted.stop())
    await settle()
    assert not stopping.done()
    durable.set()
    await stopping
    await hosted.clock.advance(HOUR)
    assert minutes(hosted) == ["12:01"]


async def test_stop_is_safe_twice_and_without_start() -> None:
    trigger = cron()
    await trigger.stop()
    await trigger.stop()


async def test_nothing_keeps_a_stopped_trigger_alive(hosted: Hosted) -> None:
    """A timer that still ran would hold it."""
    trigger = cron()
    await hosted.host(tick=trigger)
    await hosted.clock.until_asleep()
    await hosted.stop()
    await settle()
    stopped = weakref.ref(trigger)
    del trigger
    gc.collect()
    assert stopped() is None


# ---- settings


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"cron": "61 * * * *"}, "cron", "the minute '61'"),
        ({"cron": "* * * * * *"}, "cron", "needs `seconds = true`"),
        ({"cron": "* * * * *", "seconds": True}, "cron", "with seconds has 6"),
        ({"cron": "0 0 1-7 2 MON#5", "days": "both"}, "cron", "never occurs"),
        ({"cron": "@hourly", "phase": "5 minutes"}, "cron", "only @every has one"),
        ({"cron": "@every 5m", "phase": "5 minutes"}, "cron", "the phase is as long"),
        ({"cron": "@every 5m", "phase": "5 parsecs"}, "phase", "unknown unit"),
        ({"cron": "@daily", "timezone": "Europe/Berln"}, "timezone", "is not a time zone"),
        ({"cron": "@every 5m", "timezone": "Europe/Berlin"}, "timezone", "same in all zones"),
        ({"cron": "@daily", "spread": "200%"}, "spread", "at most 100%"),
        ({"cron": "@daily", "catch_up": "some"}, "catch_up", "'none', 'last' or 'all'"),
        ({"cron": "@daily", "catch_up_window": "1 second"}, "catch_up_window", "at least 10 seconds"),
        ({"cron": "@daily", "catch_up_max": 0}, "catch_up_max", "greater than or equal to 1"),
        ({"cron": "@daily", "overlap": "maybe"}, "overlap", "'skip'"),
        ({"cron": "@daily", "dst_gap": "maybe"}, "dst_gap", "'run_after' or 'skip'"),
        ({"cron": "@daily", "dst_overlap": "maybe"}, "dst_overlap", "'first', 'both' or 'last'"),
    ],
)
def test_a_wrong_setting_is_refused_at_its_key_when_the_project_loads(options: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        CronConfig(**options)
    errors: Callable[[], list[dict[str, Any]]] = caught.value.errors  # type: ignore[attr-defined]
    assert errors()[0]["loc"] == (key,)


@pytest.mark.parametrize("payload", [{}, None, 1, "x", [1, {"a": None}]])
def test_any_json_value_is_a_payload(payload: Any) -> None:
    assert CronConfig(cron="* * * * *", payload=payload).payload == payload


def test_the_expression_is_kept_with_single_spaces() -> None:
    assert CronConfig(cron="  0\t9  * * * ").cron == "0 9 * * *"


def test_the_instance_id_of_a_slot_is_the_expression_and_its_time() -> None:
    nominal = datetime(2026, 8, 6, 6, 50, tzinfo=UTC)
    assert cron("*/30 * * * *").event("half", nominal).instance_id == "*/30 * * * *-1785999000000"
    assert cron("0 0 ? * 1", payload=1).event("berlin@night", nominal).instance_id == "0 0 _ * 1-1785999000000-berlin_night"
