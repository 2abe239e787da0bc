"""What a trigger gets from the hub: its context, with a pause that outlives the process."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar

import pytest

from hub.core.delivery import Delivery, DeliveryQuery, DeliveryStatus, Phase, ReceiptStatus, TriggerEvent
from hub.core.errors import NotFound, Unavailable
from hub.core.model import InstanceQuery, Status
from hub.core.ports import TriggerContext
from hub.engine.context import TriggerSpec
from tests.triggers.hosted import POLL, Hosted

NINE = datetime(2026, 3, 1, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Source:
    """A trigger whose events the test emits itself."""

    Config: ClassVar[type] = dict

    def __init__(self, *loops: Any) -> None:
        self.loops = loops
        self.stopped = False
        self._ctx: TriggerContext | None = None

    @property
    def ctx(self) -> TriggerContext:
        assert self._ctx is not None
        return self._ctx

    async def start(self, ctx: TriggerContext) -> None:
        self._ctx, self.stopped = ctx, False
        for loop in self.loops:
            ctx.supervise(partial(loop, ctx), label=loop.__name__)

    async def stop(self) -> None:
        self.stopped = True


async def source(hosted: Hosted, name: str = "hook", **fields: Any) -> Source:
    """Host one trigger."""
    trigger = Source()
    await hosted.host_specs(TriggerSpec(name, fields.pop("workflow", "orders"), trigger, **fields))
    return trigger


async def stored(hosted: Hosted, **query: Any) -> list[Delivery]:
    """Return all stored deliveries, oldest first."""
    return list((await hosted.engine.find(DeliveryQuery(ascending=True, heads=False, **query))).items)


async def payloads(hosted: Hosted) -> list[bytes]:
    """Return what the instances were created with, oldest first."""
    page = await hosted.engine.find(InstanceQuery(ascending=True, heads=False, limit=1000))
    return [instance.params for instance in page.items]


def of(*numbers: int) -> list[bytes]:
    return [str(number).encode() for number in numbers]


async def pause(hosted: Hosted, name: str = "hook") -> None:
    await hosted.engine.ledger.steer(name, paused=True)
    await hosted.hosting.refresh()


async def resume(hosted: Hosted, name: str = "hook") -> None:
    await hosted.engine.ledger.steer(name, paused=False)
    await hosted.hosting.refresh()


# ---- emitting and keeping


async def test_an_emitted_event_is_an_instance_when_emit_returns(hosted: Hosted) -> None:
    trigger = await source(hosted)

    receipt = await trigger.ctx.emit(TriggerEvent(payload={"n": 1}))

    assert receipt.status is ReceiptStatus.CREATED
    assert receipt.workflow == "orders"
    instance = await hosted.engine.instance("orders", receipt.instance_id or "")
    assert (instance.params, instance.trigger) == (b'{"n":1}', "hook")
    assert await stored(hosted) == []


async def test_a_stopped_trigger_emits_nothing(hosted: Hosted) -> None:
    trigger = await source(hosted)
    await hosted.hosting.stop()

    assert trigger.stopped
    with pytest.raises(Unavailable, match="stopping"):
        await trigger.ctx.emit(TriggerEvent(payload=1))


async def test_what_is_kept_is_stored_with_its_reason_and_its_event(hosted: Hosted) -> None:
    trigger = await source(hosted)
    event = TriggerEvent(payload="?", key="k", occurred_at=NINE, headers={"authorization": "Bearer x", "x-shop": "a"})

    id = await trigger.ctx.keep(event, DeliveryStatus.DEAD, code="payload.malformed", message="no JSON", instance_id="other")

    (kept,) = await stored(hosted)
    assert (kept.id, kept.trigger, kept.status, kept.code, kept.message) == (
        id,
        "hook",
        DeliveryStatus.DEAD,
        "payload.malformed",
        "no JSON",
    )
    assert (kept.key, kept.occurred_at, kept.workflow, kept.instance_id, kept.received_at) == (
        "k",
        NINE,
        "orders",
        "other",
        hosted.clock.now(),
    )
    assert kept.event == b'{"payload":"?","key":"k","headers":{"x-shop":"a"},"occurred_at":"2026-03-01T09:00:00+00:00","source":"event"}'


@pytest.mark.parametrize("moves", [True, False])
async def test_what_is_kept_moves_the_cursor_when_it_is_told_to(hosted: Hosted, moves: bool) -> None:
    trigger = await source(hosted)
    later = hosted.clock.now() + MINUTE
    event = TriggerEvent(payload=None, cursor=later)

    await trigger.ctx.keep(event, DeliveryStatus.MISSED, code="catch_up.window", message="too old", since=later if moves else None)

    assert ((await trigger.ctx.record()).cursor == later) is moves


# ---- the record and the cursor


async def test_a_hosted_trigger_has_a_record(hosted: Hosted) -> None:
    trigger = await source(hosted, kind="http", digest="abc")

    record = await trigger.ctx.record()

    assert (record.name, record.kind, record.workflow, record.digest) == ("hook", "http", "orders", "abc")
    assert (record.cursor, record.paused_at) == (hosted.clock.now(), None)


async def test_the_cursor_moves_from_where_it_is_only(hosted: Hosted) -> None:
    trigger = await source(hosted)
    now = hosted.clock.now()

    assert await trigger.ctx.move_cursor(now, now + MINUTE)
    assert not await trigger.ctx.move_cursor(now, now + 2 * MINUTE)
    assert (await trigger.ctx.record()).cursor == now + MINUTE


async def test_the_cursor_moves_with_the_instance(hosted: Hosted) -> None:
    trigger = await source(hosted)
    later = hosted.clock.now() + MINUTE

    await trigger.ctx.emit(TriggerEvent(payload=1, cursor=later))

    assert (await trigger.ctx.record()).cursor == later


# ---- waiting for an end


async def test_an_instance_that_ends_in_time_is_returned(hosted: Hosted) -> None:
    trigger = await source(hosted)
    receipt = await trigger.ctx.emit(TriggerEvent(payload="done"))

    instance = await trigger.ctx.instance("orders", receipt.instance_id or "", timedelta(seconds=30))

    assert (instance.status, instance.output) == (Status.COMPLETE, b'"done"')


async def test_an_instance_that_takes_longer_is_returned_as_it_is_by_then(hosted: Hosted) -> None:
    trigger = await source(hosted)
    receipt = await trigger.ctx.emit(TriggerEvent(payload="slow"))
    begun = hosted.clock.now()

    instance = await trigger.ctx.instance("orders", receipt.instance_id or "", timedelta(seconds=30))

    assert instance.status is Status.WAITING
    assert timedelta(seconds=30) <= hosted.clock.now() - begun < timedelta(seconds=31)


async def test_waiting_for_an_end_does_not_hold_up_a_stop(hosted: Hosted) -> None:
    trigger = await source(hosted)
    receipt = await trigger.ctx.emit(TriggerEvent(payload="slow"))
    waiting = asyncio.create_task(trigger.ctx.instance("orders", receipt.instance_id or "", timedelta(hours=1)))
    await hosted.clock.advance(timedelta(seconds=5))

    await hosted.hosting.stop()
    begun = hosted.clock.now()

    assert (await waiting).ended_at is None
    assert hosted.clock.now() - begun < timedelta(seconds=1)


async def test_the_end_of_what_does_not_exist_cannot_be_waited_for(hosted: Hosted) -> None:
    trigger = await source(hosted)

    with pytest.raises(NotFound, match='instance "nobody"'):
        await trigger.ctx.instance("orders", "nobody", MINUTE)


# ---- reports


async def test_a_trigger_that_says_nothing_is_listening_and_then_stopped(hosted: Hosted) -> None:
    await source(hosted)
    before = hosted.hosting.hosted["hook"].health

    await hosted.hosting.stop()

    assert (before.phase, hosted.hosting.hosted["hook"].health.phase) == (Phase.LISTENING, Phase.STOPPED)


async def test_the_last_report_is_shown(hosted: Hosted) -> None:
    trigger = await source(hosted)

    trigger.ctx.report(Phase.CONNECTING, "to the broker")
    trigger.ctx.report(Phase.CONSUMING, consumers=1)

    health = hosted.hosting.hosted["hook"].health
    assert (health.phase, health.message, health.facts) == (Phase.CONSUMING, "", {"consumers": 1})


async def test_a_disabled_trigger_is_known_and_not_started(hosted: Hosted) -> None:
    trigger = Source()
    await hosted.host_specs(TriggerSpec("hook", "orders", trigger, enabled=False))

    health = hosted.hosting.hosted["hook"].health
    assert (health.phase, health.message) == (Phase.STOPPED, "disabled in hub.toml")
    assert "hook" in await hosted.engine.ledger.records()
    with pytest.raises(AssertionError):
        _ = trigger.ctx


# ---- news


async def test_a_loop_hears_of_a_pause_of_its_end_and_of_a_nudge(hosted: Hosted) -> None:
    heard: list[bool] = []

    async def listen(ctx: TriggerContext) -> None:
        while True:
            await ctx.changed()
            heard.append(ctx.paused)

    await hosted.host_specs(TriggerSpec("hook", "orders", Source(listen)))
    await pause(hosted)
    await hosted.clock.advance(MINUTE)
    await resume(hosted)
    await hosted.clock.advance(MINUTE)
    hosted.hosting.hosted["hook"].nudge()
    await hosted.clock.advance(MINUTE)

    assert heard == [True, False, False]


async def test_a_change_between_two_looks_is_not_missed(hosted: Hosted) -> None:
    trigger = await source(hosted)

    await pause(hosted)

    await asyncio.wait_for(trigger.ctx.changed(), 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(trigger.ctx.changed(), 1)


# ---- pausing and releasing


async def test_what_a_paused_trigger_receives_is_held(hosted: Hosted) -> None:
    trigger = await source(hosted)
    await pause(hosted)

    receipt = await trigger.ctx.emit(TriggerEvent(payload=1, key="k"))

    (held,) = await stored(hosted)
    assert trigger.ctx.paused
    assert (receipt.status, receipt.reason, receipt.delivery) == (ReceiptStatus.HELD, "trigger.paused", held.id)
    assert (held.status, held.code, held.key, held.workflow) == (DeliveryStatus.HELD, "trigger.paused", "k", "orders")
    assert await payloads(hosted) == []


async def test_a_repeated_event_is_held_once(hosted: Hosted) -> None:
    trigger = await source(hosted)
    await pause(hosted)

    first = await trigger.ctx.emit(TriggerEvent(payload=1, key="k"))
    again = await trigger.ctx.emit(TriggerEvent(payload=1, key="k"))

    assert again == first
    assert len(await stored(hosted)) == 1


async def test_a_pause_by_another_node_is_seen_within_a_poll(hosted: Hosted) -> None:
    trigger = await source(hosted)
    await hosted.engine.ledger.steer("hook", paused=True)
    assert not trigger.ctx.paused

    await hosted.clock.advance(POLL)

    assert trigger.ctx.paused


async def test_a_pause_outlives_the_process(hosted: Hosted) -> None:
    await source(hosted)
    await pause(hosted)
    await hosted.stop()

    trigger = await source(hosted)

    assert trigger.ctx.paused
    assert (await trigger.ctx.emit(TriggerEvent(payload=1))).status is ReceiptStatus.HELD


async def test_a_resumed_trigger_emits_what_was_held_in_its_order_and_then_what_is_new(hosted: Hosted) -> None:
    trigger = await source(hosted)
    await pause(hosted)
    for number in range(250):
        await trigger.ctx.emit(TriggerEvent(payload=number))

    await resume(hosted)
    during = await trigger.ctx.emit(TriggerEvent(payload=250))
    await hosted.clock.advance(MINUTE)
    after = await trigger.ctx.emit(TriggerEvent(payload=251))

    assert (during.status, after.status) == (ReceiptStatus.HELD, ReceiptStatus.CREATED)
    assert await payloads(hosted) == of(*range(252))
    rows = await stored(hosted, limit=1000)
    assert {row.status for row in rows} == {DeliveryStatus.REPLAYED}
    assert [row.instance_id for row in rows] == [i.id for i in (await hosted.engine.find(InstanceQuery(ascending=True, limit=251))).items]


async def test_a_released_event_keeps_its_key_and_its_instance_says_where_it_comes_from(hosted: Hosted) -> None:
    trigger = await source(hosted)
    await pause(hosted)
    held = await trigger.ctx.emit(TriggerEvent(payload=1, key="k", instance_id="one"))
    await resume(hosted)
    await hosted.clock.advance(MINUTE)

    again = await trigger.ctx.emit(TriggerEvent(payload=1, key="k"))

    assert (again.status, again.instance_id) == (ReceiptStatus.DUPLICATE, "one")
    instance = await hosted.engine.instance("orders", "one")
    assert instance.provenance == f'{{"key":"k","delivery":"{held.delivery}"}}'.encode()


async def test_events_of_other_triggers_pass_while_one_is_paused(hosted: Hosted) -> None:
    one, other = Source(), Source()
    await hosted.host_specs(TriggerSpec("one", "orders", one), TriggerSpec("other", "orders", other))
    await pause(hosted, "one")

    await one.ctx.emit(TriggerEvent(payload=1))
    await other.ctx.emit(TriggerEvent(payload=2))

    assert await payloads(hosted) == of(2)


async def test_a_pause_during_the_release_holds_the_rest(hosted: Hosted) -> None:
    trigger = await source(hosted)
    await pause(hosted)
    for number in range(350):
        await trigger.ctx.emit(TriggerEvent(payload=number))

    await resume(hosted)
    while not await payloads(hosted):  # noqa: ASYNC110  # the release tells nobody how far it is
        await asyncio.sleep(0)
    await pause(hosted)
    await hosted.clock.advance(MINUTE)

    released = len(await payloads(hosted))
    assert 0 < released < 350
    await resume(hosted)
    await hosted.clock.advance(MINUTE)
    assert await payloads(hosted) == of(*range(350))


async def test_what_a_stopped_process_had_not_released_is_released_by_the_next_one_before_new_events(hosted: Hosted) -> None:
    trigger = await source(hosted)
    await pause(hosted)
    for number in range(150):
        await trigger.ctx.emit(TriggerEvent(payload=number))
    await resume(hosted)
    await hosted.stop()

    trigger = await source(hosted)
    await trigger.ctx.emit(TriggerEvent(payload=150))
    await hosted.clock.advance(MINUTE)

    assert await payloads(hosted) == of(*range(151))


async def test_what_a_dead_node_held_at_the_last_moment_is_released_by_another_within_a_poll(hosted: Hosted) -> None:
    await source(hosted)
    event = TriggerEvent(payload=1)
    await hosted.hosting.hosted["hook"].gate.hold(event)  # decided before the resume, stored after the last look

    await hosted.clock.advance(2 * POLL)

    assert await payloads(hosted) == of(1)


async def test_a_held_event_that_is_refused_says_so_and_does_not_stop_the_others(hosted: Hosted) -> None:
    trigger = await source(hosted)
    await pause(hosted)
    await trigger.ctx.emit(TriggerEvent(payload=0, workflow="gone"))
    await trigger.ctx.emit(TriggerEvent(payload=1, instance_id="same"))
    await trigger.ctx.emit(TriggerEvent(payload=2, instance_id="same"))

    await resume(hosted)
    await hosted.clock.advance(MINUTE)

    assert await payloads(hosted) == of(1)
    assert [(row.status, row.code) for row in await stored(hosted)] == [
        (DeliveryStatus.REJECTED, "workflow.not_found"),
        (DeliveryStatus.REPLAYED, "trigger.paused"),
        (DeliveryStatus.REJECTED, "instance.already_exists"),
    ]
