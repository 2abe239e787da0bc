"""The operator's desk: what it shows, and what it does, on the real engine and with a real schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.core.delivery import DeliveryQuery, DeliveryStatus, Phase, ReceiptStatus, TriggerEvent
from hub.core.desk import Desk
from hub.core.errors import Conflict, NotFound, Rejected
from hub.core.flow import Overlap
from hub.core.model import InstanceQuery
from hub.core.veil import HIDDEN
from hub.engine.context import TriggerSpec
from hub.engine.contracts import SchemaContract
from hub.engine.desk import TriggerDesk
from hub.engine.expressions import Expression
from hub.engine.rules import Rules
from hub.engine.veil import VeiledDesk
from hub.plugins import parse_options
from tests.triggers.hosted import POLL, Hosted
from tests.triggers.test_hosting import Source, of, payloads, stored
from triggers.cron import CronTrigger

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def cron(**options: Any) -> CronTrigger:
    return CronTrigger(parse_options(CronTrigger, {"cron": "0 * * * *", **options}, "triggers.0"))


def desk_of(hosted: Hosted) -> Desk:
    return TriggerDesk(hosted.hosting, hosted.engine.services("local"))


async def with_hook(hosted: Hosted, **fields: Any) -> tuple[Desk, Source]:
    """Host one trigger, `hook`, and return the desk."""
    trigger = Source()
    await hosted.host_specs(TriggerSpec("hook", "orders", trigger, kind="http", **fields))
    return desk_of(hosted), trigger


# ---- looking


async def test_the_desk_shows_a_trigger_with_its_record_its_health_and_its_counts(hosted: Hosted) -> None:
    desk, trigger = await with_hook(hosted, settings={"path": "shop"})
    for key in ("a", "a", "b"):
        await trigger.ctx.emit(TriggerEvent(payload=1, key=key))
    with pytest.raises(Rejected):
        await trigger.ctx.emit(TriggerEvent(payload=1, workflow="gone"))

    view = await desk.trigger("hook")

    assert (view.record.name, view.record.kind, view.record.workflow) == ("hook", "http", "orders")
    assert (view.health.phase, view.settings, view.record.cursor) == (Phase.LISTENING, {"path": "shop"}, None)
    assert view.counts == {"created": 2, "duplicate": 1, "rejected": 1}
    assert await desk.triggers() == [view]


async def test_the_counts_are_told_to_prometheus(hosted: Hosted) -> None:
    _, trigger = await with_hook(hosted)
    await trigger.ctx.emit(TriggerEvent(payload=1))

    text = hosted.engine.telemetry.render().decode()

    assert 'hub_trigger_events_total{outcome="created",trigger="hook"} 1.0' in text


@pytest.mark.parametrize("method", ["trigger", "pause", "resume", "fire"])
async def test_an_unknown_trigger_is_told_with_the_nearest_name(hosted: Hosted, method: str) -> None:
    desk, _ = await with_hook(hosted)

    with pytest.raises(NotFound, match='trigger "hok" not found; did you mean "hook"') as caught:
        await getattr(desk, method)("hok")

    assert caught.value.code == "trigger.not_found"


# ---- pausing


async def test_a_pause_holds_and_a_resume_lets_go(hosted: Hosted) -> None:
    desk, trigger = await with_hook(hosted)

    paused = await desk.pause("hook", "the shop is broken")
    held = await trigger.ctx.emit(TriggerEvent(payload=1))
    resumed = await desk.resume("hook")
    await hosted.clock.advance(MINUTE)

    assert (paused.health.phase, paused.record.note, paused.record.paused_at is not None) == (Phase.PAUSED, "the shop is broken", True)
    assert held.status is ReceiptStatus.HELD
    assert (resumed.health.phase, resumed.record.note, resumed.record.paused_at) == (Phase.LISTENING, None, None)
    assert await payloads(hosted) == of(1)


async def test_an_error_is_shown_also_of_a_paused_trigger(hosted: Hosted) -> None:
    desk, trigger = await with_hook(hosted)
    trigger.ctx.report(Phase.ERROR, "the queue is gone; declare it")

    assert (await desk.pause("hook")).health.phase is Phase.ERROR


async def test_the_slots_of_a_pause_are_told_as_skipped_and_the_schedule_goes_on_from_now(hosted: Hosted) -> None:
    await hosted.host_specs(TriggerSpec("tick", "orders", cron(), kind="cron", digest="1"))
    desk = desk_of(hosted)

    await desk.pause("tick")
    await hosted.clock.advance(3 * HOUR)
    view = await desk.resume("tick")
    await hosted.clock.advance(HOUR)

    skipped = await stored(hosted, statuses=frozenset({DeliveryStatus.SKIPPED}))
    assert [(row.code, row.occurred_at is not None and row.occurred_at.hour) for row in skipped] == [
        ("trigger.paused", 13),
        ("trigger.paused", 14),
        ("trigger.paused", 15),
    ]
    assert view.record.cursor is not None
    assert [event.occurred_at.hour for event in hosted.events if event.occurred_at] == [16]


# ---- firing


async def test_a_fired_event_comes_in_as_from_the_source(hosted: Hosted) -> None:
    desk, _ = await with_hook(hosted)

    first = await desk.fire("hook", {"n": 1}, "k")
    again = await desk.fire("hook", {"n": 1}, "k")

    assert (first.status, again.status, again.instance_id) == (ReceiptStatus.CREATED, ReceiptStatus.DUPLICATE, first.instance_id)
    instance = await hosted.engine.instance("orders", first.instance_id or "")
    assert (instance.params, instance.trigger) == (b'{"n":1}', "hook")


async def test_a_paused_trigger_holds_what_is_fired(hosted: Hosted) -> None:
    desk, _ = await with_hook(hosted)
    await desk.pause("hook")

    assert (await desk.fire("hook", 1)).status is ReceiptStatus.HELD


async def test_a_trigger_without_workflow_can_be_fired_unless_it_calls_the_handler(hosted: Hosted) -> None:
    async def handle(argument: Any) -> None:
        """Do nothing."""

    await hosted.host_specs(TriggerSpec("stop", None, Source()), TriggerSpec("queue", None, Source(), handler=handle))
    desk = desk_of(hosted)

    await desk.fire("stop", {"order": 1})
    with pytest.raises(Conflict, match='trigger "queue" calls the project\'s handler'):
        await desk.fire("queue")

    assert [event.payload for event in hosted.events] == [{"order": 1}]


async def test_a_fired_schedule_runs_now(hosted: Hosted) -> None:
    await hosted.host_specs(TriggerSpec("tick", "orders", cron(), kind="cron"))

    receipt = await desk_of(hosted).fire("tick", {"by": "hand"})

    assert receipt.status is ReceiptStatus.CREATED
    assert await payloads(hosted) == [b'{"by":"hand"}']


async def test_a_disabled_trigger_cannot_be_fired(hosted: Hosted) -> None:
    desk, _ = await with_hook(hosted, enabled=False)

    with pytest.raises(Conflict, match='trigger "hook" is disabled') as caught:
        await desk.fire("hook")
    assert caught.value.code == "trigger.disabled"


# ---- schedules


async def test_a_schedule_is_previewed_in_words_and_times(hosted: Hosted) -> None:
    await hosted.host_specs(TriggerSpec("tick", "orders", cron(), kind="cron"))

    words, occurrences = desk_of(hosted).preview("tick", hosted.clock.now(), 3)

    assert words
    assert [occurrence.nominal.hour for occurrence in occurrences] == [13, 14, 15]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_backfill_emits_what_lies_behind_or_only_says_what_that_would_be(hosted: Hosted, dry_run: bool) -> None:
    await hosted.host_specs(TriggerSpec("tick", "orders", cron(), kind="cron"))
    now = hosted.clock.now()

    done = await desk_of(hosted).backfill("tick", now - 3 * HOUR, now, overlap=Overlap.ALLOW, dry_run=dry_run)

    assert [occurrence.nominal.hour for occurrence, _ in done] == [10, 11, 12]
    assert [receipt and receipt.status for _, receipt in done] == [None if dry_run else ReceiptStatus.CREATED] * 3
    assert len(await payloads(hosted)) == (0 if dry_run else 3)


@pytest.mark.parametrize(
    "ask", [lambda desk, now: asyncio.sleep(0, desk.preview("hook", now, 1)), lambda desk, now: desk.backfill("hook", now, now + HOUR)]
)
async def test_what_is_no_schedule_has_no_occurrences(hosted: Hosted, ask: Callable[[Desk, Any], Any]) -> None:
    desk, _ = await with_hook(hosted)

    with pytest.raises(Conflict, match='trigger "hook" has no schedule: its kind is http') as caught:
        await ask(desk, hosted.clock.now())
    assert caught.value.code == "trigger.no_schedule"


# ---- deliveries


async def test_a_rejected_delivery_is_found_and_replayed_once_it_can_be_accepted(hosted: Hosted) -> None:
    rules = {"hook": Rules(map=Expression.compile("join('-', payload)"))}
    hosted.rules = rules
    desk, trigger = await with_hook(hosted)
    with pytest.raises(Rejected):
        await trigger.ctx.emit(TriggerEvent(payload={"n": 1}, key="k"))
    (found,) = (await desk.deliveries(DeliveryQuery(trigger="hook", statuses=frozenset({DeliveryStatus.REJECTED})))).items
    assert (await desk.delivery(found.id)).event.startswith(b'{"payload":{"n":1}')
    with pytest.raises(Rejected, match="map fails"):
        await desk.replay(found.id)

    rules.clear()
    receipt = await desk.replay(found.id)

    assert receipt.status is ReceiptStatus.CREATED
    assert (await desk.delivery(found.id)).instance_id == receipt.instance_id
    with pytest.raises(Conflict, match=f"has been replayed already: orders {receipt.instance_id}"):
        await desk.replay(found.id)
    assert await payloads(hosted) == [b'{"n":1}']


async def test_a_held_delivery_can_be_let_through_alone(hosted: Hosted) -> None:
    desk, trigger = await with_hook(hosted)
    await desk.pause("hook")
    receipts = [await trigger.ctx.emit(TriggerEvent(payload=number, key=f"k{number}")) for number in range(3)]

    await desk.replay(receipts[1].delivery or "")
    assert await payloads(hosted) == of(1)
    await desk.resume("hook")
    await hosted.clock.advance(MINUTE)

    assert await payloads(hosted) == of(1, 0, 2)
    assert (await trigger.ctx.emit(TriggerEvent(payload=1, key="k1"))).status is ReceiptStatus.DUPLICATE


async def test_an_unknown_delivery_is_told(hosted: Hosted) -> None:
    desk, _ = await with_hook(hosted)

    with pytest.raises(NotFound, match='no delivery "gone" is stored'):
        await desk.delivery("gone")
    with pytest.raises(NotFound):
        await desk.replay("gone")


async def test_a_pause_and_a_resume_at_the_same_time_end_as_the_store_says(hosted: Hosted) -> None:
    desk, trigger = await with_hook(hosted)

    await asyncio.gather(*(desk.pause("hook") if number % 2 else desk.resume("hook") for number in range(10)))
    await hosted.clock.advance(2 * POLL)

    assert trigger.ctx.paused is ((await desk.trigger("hook")).record.paused_at is not None)
    assert len((await hosted.engine.find(InstanceQuery())).items) == 0


# ---- who may not see payloads


async def test_a_replay_that_is_refused_again_does_not_quote_what_it_holds_to_whom_may_not_see_it(hosted: Hosted) -> None:
    desk, trigger = await with_hook(hosted)
    canary = "c4nary"
    with pytest.raises(Rejected):
        await trigger.ctx.emit(TriggerEvent(payload=1, workflow=canary))
    (held,) = (await desk.deliveries(DeliveryQuery())).items

    with pytest.raises(Rejected, match=canary):
        await desk.replay(held.id)
    with pytest.raises(Rejected) as caught:
        await VeiledDesk(desk).replay(held.id)

    assert canary not in caught.value.message
    assert HIDDEN in caught.value.message


@pytest.mark.parametrize("verb", ["fire", "backfill"])
async def test_why_the_payload_of_a_schedule_is_refused_is_hidden_with_it(hosted: Hosted, tmp_path: Path, verb: str) -> None:
    canary = "c4nary-55"
    schema = tmp_path / "number.schema.json"
    schema.write_text('{"type": "number"}')
    hosted.rules = {"hourly": Rules(contract=SchemaContract(schema, "triggers.0.schema"))}
    await hosted.host_specs(TriggerSpec("hourly", "orders", cron(payload=canary), kind="cron"))
    desk, now = desk_of(hosted), hosted.clock.now()

    async def ask(asked: Desk) -> str:
        with pytest.raises(Rejected) as caught:
            await (asked.fire("hourly") if verb == "fire" else asked.backfill("hourly", now - 2 * HOUR, now))
        assert caught.value.code == "payload.schema"
        return caught.value.message

    assert canary in await ask(desk)
    assert await ask(VeiledDesk(desk)) == f"refused: {HIDDEN}"


async def test_what_is_wrong_with_the_span_of_a_backfill_is_told_to_everybody(hosted: Hosted) -> None:
    await hosted.host_specs(TriggerSpec("hourly", "orders", cron(), kind="cron"))
    desk, now = VeiledDesk(desk_of(hosted)), hosted.clock.now()

    with pytest.raises(Rejected, match="lies in the future"):
        await desk.backfill("hourly", now, now + HOUR)
    assert [receipt for _, receipt in await desk.backfill("hourly", now - HOUR, now, dry_run=True)] == [None]
