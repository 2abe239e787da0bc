"""The rules of a trigger on its events, and the account of those that create nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from hub.core.deliveries import decode_event
from hub.core.delivery import Delivery, DeliveryQuery, DeliveryStatus, ReceiptStatus, TriggerEvent
from hub.core.errors import Conflict, NotFound, Rejected, Unavailable
from hub.core.model import InstanceQuery, Schedule, Source
from hub.core.writes import KeepDelivery
from hub.engine.contracts import ModelContract, SchemaContract
from hub.engine.expressions import Expression
from hub.engine.rules import OnFault, Rules
from tests.engine.conftest import Hub

NINE = datetime(2026, 3, 1, 9, tzinfo=UTC)


class Order(BaseModel):
    id: int


async def echo(event: Any, step: Any) -> Any:
    return event.payload


def rules(**texts: Any) -> Rules:
    compiled: dict[str, Any] = {key: Expression.compile(text) if type(text) is str else text for key, text in texts.items()}
    return Rules(**compiled)


async def start(hub: Hub, **texts: Any) -> Hub:
    """Start the hub with one trigger, `hook`, of these rules."""
    hub.rules = {"hook": rules(**texts)}
    return await hub.start(program=echo)


async def emit(hub: Hub, payload: Any = None, **fields: Any) -> Any:
    return await hub.engine.emit("hook", "program", TriggerEvent(payload=payload, **fields))


async def stored(hub: Hub) -> list[Delivery]:
    return list((await hub.engine.find(DeliveryQuery(ascending=True, heads=False))).items)


async def only(hub: Hub) -> Delivery:
    (found,) = await stored(hub)
    return found


async def payloads(hub: Hub) -> list[bytes]:
    page = await hub.engine.find(InstanceQuery(ascending=True, heads=False))
    return [instance.params for instance in page.items]


# ---- filter


async def test_an_event_that_the_filter_refuses_is_stored_and_creates_nothing(hub: Hub) -> None:
    await start(hub, filter="payload.n > `1`")

    receipt = await emit(hub, {"n": 1}, key="k", headers={"x-a": "b", "cookie": "c"})

    kept = await only(hub)
    assert (receipt.status, receipt.reason, receipt.delivery, receipt.instance_id) == (ReceiptStatus.FILTERED, "filter", kept.id, None)
    assert (kept.status, kept.code, kept.message, kept.key) == (DeliveryStatus.FILTERED, "filter", "the trigger's filter says no", "k")
    assert decode_event(kept.event) == TriggerEvent(payload={"n": 1}, key="k", headers={"x-a": "b"})
    assert await payloads(hub) == []


async def test_an_event_that_passes_the_filter_leaves_no_row_of_its_own(hub: Hub) -> None:
    await start(hub, filter="payload.n > `1`")

    receipt = await emit(hub, {"n": 2})

    assert receipt.status is ReceiptStatus.CREATED
    assert await stored(hub) == []


async def test_a_filter_that_fails_never_swallows_an_event(hub: Hub) -> None:
    await start(hub, filter="length(payload.items) > `0`")

    receipt = await emit(hub, {"items": 7})

    assert receipt.status is ReceiptStatus.CREATED
    assert hub.engine.telemetry.events_of("hook") == {"filter_error": 1, "created": 1}


async def test_a_filter_that_fails_refuses_the_event_where_it_is_told_to(hub: Hub) -> None:
    await start(hub, filter="length(payload.items) > `0`", filter_error=OnFault.REJECT)

    with pytest.raises(Rejected, match=r"the trigger's filter fails: .*length\(\) takes") as caught:
        await emit(hub, {"items": 7})

    assert caught.value.code == (await only(hub)).code == "filter.invalid"
    assert (await only(hub)).status is DeliveryStatus.REJECTED


# ---- key and map


async def test_the_key_of_the_trigger_takes_the_place_of_the_sources_own(hub: Hub) -> None:
    await start(hub, key="payload.id")

    first = await emit(hub, {"id": 7}, key="a")
    again = await emit(hub, {"id": 7}, key="b")
    other = await emit(hub, {"id": 8}, key="a")

    assert (again.status, again.instance_id) == (ReceiptStatus.DUPLICATE, first.instance_id)
    assert other.status is ReceiptStatus.CREATED


async def test_an_event_whose_key_is_null_is_never_a_duplicate(hub: Hub) -> None:
    await start(hub, key="payload.id")

    receipts = [await emit(hub, {}, key="a") for _ in range(2)]

    assert [receipt.status for receipt in receipts] == [ReceiptStatus.CREATED, ReceiptStatus.CREATED]


@pytest.mark.parametrize("keys", [["a" * 600, "a" * 601], [{"b": 1, "a": [None]}, {"b": 1, "a": []}], [1.5, 1.25], [True, "yes"]])
async def test_any_value_can_be_a_key(hub: Hub, keys: list[Any]) -> None:
    await start(hub, key="payload")

    receipts = [await emit(hub, key) for key in (*keys, *keys)]

    assert [receipt.status for receipt in receipts] == [ReceiptStatus.CREATED] * 2 + [ReceiptStatus.DUPLICATE] * 2
    assert [receipt.instance_id for receipt in receipts[2:]] == [receipt.instance_id for receipt in receipts[:2]]


async def test_the_payload_is_what_the_map_makes_of_the_event(hub: Hub) -> None:
    await start(hub, map='{id: payload.id, kind: headers."x-kind", by: trigger}')

    await emit(hub, {"id": 7, "more": 1}, headers={"x-kind": "new"})

    assert await payloads(hub) == [b'{"id":7,"kind":"new","by":"hook"}']


@pytest.mark.parametrize("rule", ["key", "map"])
async def test_a_key_or_a_map_that_fails_refuses_the_event(hub: Hub, rule: str) -> None:
    await start(hub, **{rule: "join(',', payload)"})

    with pytest.raises(Rejected, match=f"the trigger's {rule} fails"):
        await emit(hub, "text")

    assert ((await only(hub)).status, (await only(hub)).code) == (DeliveryStatus.REJECTED, f"{rule}.invalid")


# ---- schema


async def test_a_payload_that_breaks_the_contract_is_refused_with_the_path_and_stored(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"properties": {"items": {"items": {"required": ["id"]}}}}')
    await start(hub, contract=SchemaContract(tmp_path / "s.json"))

    with pytest.raises(Rejected, match=r'^payload\.items\[1\]: "id" is a required property \(s\.json\)$') as caught:
        await emit(hub, {"items": [{"id": 1}, {}]}, key="k")

    kept = await only(hub)
    assert caught.value.code == kept.code == "payload.schema"
    assert (kept.status, kept.message) == (DeliveryStatus.REJECTED, caught.value.message)
    assert decode_event(kept.event).payload == {"items": [{"id": 1}, {}]}
    assert hub.engine.telemetry.events_of("hook") == {"rejected": 1}


async def test_the_contract_is_about_the_mapped_payload(hub: Hub) -> None:
    await start(hub, map="payload.order", contract=ModelContract(Order, "models.py:Order"))

    await emit(hub, {"order": {"id": 1}})
    with pytest.raises(Rejected, match=r"^payload: Input should be a valid dictionary"):
        await emit(hub, {"id": 1})

    assert await payloads(hub) == [b'{"id":1}']


async def test_a_repeated_refusal_is_stored_once(hub: Hub) -> None:
    await start(hub, contract=ModelContract(Order, "models.py:Order"))

    for _ in range(2):
        with pytest.raises(Rejected):
            await emit(hub, {}, key="k")

    assert (await only(hub)).key == "k"


# ---- refusals of the bus itself


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"payload": "a" * (1 << 20)}, "payload.too_large"),
        ({"workflow": "gone"}, "workflow.not_found"),
        ({"instance_id": "a/b.c"}, "instance.invalid_id"),
        ({"payload": object()}, "payload.not_serialisable"),
    ],
)
async def test_every_refusal_is_stored_before_it_is_told(hub: Hub, fields: dict[str, Any], code: str) -> None:
    await start(hub)

    with pytest.raises(Rejected) as caught:
        await emit(hub, **fields)

    assert (caught.value.code, (await only(hub)).code, (await only(hub)).status) == (code, code, DeliveryStatus.REJECTED)


async def test_an_event_without_a_workflow_is_refused(hub: Hub) -> None:
    await start(hub)

    with pytest.raises(Rejected, match="bound to no workflow"):
        await hub.engine.emit("hook", None, TriggerEvent(payload=1))

    assert (await only(hub)).code == "trigger.no_workflow"


async def test_a_refusal_that_cannot_be_stored_leaves_the_event_with_the_sender(hub: Hub) -> None:
    await start(hub, contract=ModelContract(Order, "models.py:Order"))
    hub.refused = lambda write: isinstance(write, KeepDelivery)

    with pytest.raises(Unavailable):
        await emit(hub, {})

    assert await stored(hub) == []
    assert hub.engine.telemetry.events_of("hook") == {"unavailable": 1}


async def test_a_refused_slot_of_a_schedule_moves_the_cursor_along(hub: Hub) -> None:
    await start(hub, filter="`false`")
    await hub.engine.ledger.register("hook", "cron", "program", "")
    later = hub.clock.now() + timedelta(hours=1)
    schedule = Schedule(cron="0 * * * *", scheduled_at=later)

    receipt = await emit(hub, schedule=schedule, source=Source.CRON, cursor=later, occurred_at=later)

    assert receipt.status is ReceiptStatus.FILTERED
    assert (await only(hub)).status is DeliveryStatus.SKIPPED
    assert (await hub.engine.ledger.record("hook")).cursor == later


# ---- what an instance keeps


async def test_a_workflow_sees_where_its_instance_comes_from(hub: Hub) -> None:
    seen: list[Any] = []

    async def look(event: Any, step: Any) -> None:
        seen.append((event.trigger, dict(event).get("trigger")))

    await hub.start(program=look)
    event = TriggerEvent(payload=1, key="k", subject="s", headers={"x-a": "b", "x-api-key": "c"}, metadata={"n": [1]}, occurred_at=NINE)

    receipt = await hub.engine.emit("hook", "program", event)
    await hub.ended(receipt.instance_id or "")

    ((origin, shown),) = seen
    assert (origin.name, origin.key, origin.subject, origin.headers, origin.metadata, origin.occurred_at) == (
        "hook",
        "k",
        "s",
        {"x-a": "b"},
        {"n": [1]},
        NINE,
    )
    assert shown == {"name": "hook", "key": "k", "subject": "s", "headers": {"x-a": "b"}, "metadata": {"n": [1]}, "occurredAt": NINE}


async def test_what_nobody_has_triggered_has_no_trigger(hub: Hub) -> None:
    seen: list[Any] = []

    async def look(event: Any, step: Any) -> None:
        seen.append((event.trigger, "trigger" in dict(event)))

    await hub.start(program=look)
    await hub.run()

    assert seen == [(None, False)]
    (instance,) = (await hub.engine.find(InstanceQuery(heads=False))).items
    assert instance.provenance is None


# ---- replaying


async def test_a_stored_delivery_creates_its_instance_when_it_is_emitted_again(hub: Hub) -> None:
    await start(hub, contract=ModelContract(Order, "models.py:Order"))
    with pytest.raises(Rejected):
        await emit(hub, {"id": "x"}, key="k", instance_id="chosen")
    await hub.stop()
    hub.rules = {}
    await hub.start()

    receipt = await hub.engine.again(await only(hub), "program")

    replayed = await only(hub)
    assert receipt.status is ReceiptStatus.CREATED
    assert (replayed.status, replayed.instance_id) == (DeliveryStatus.REPLAYED, receipt.instance_id)
    assert receipt.instance_id != "chosen"
    assert (await emit(hub, {"id": 2}, key="k")).status is ReceiptStatus.CREATED  # it ran under a key of its own


async def test_a_replay_that_fails_again_keeps_the_row_with_the_new_reason(hub: Hub) -> None:
    await start(hub, contract=ModelContract(Order, "models.py:Order"))
    with pytest.raises(Rejected):
        await emit(hub, {"id": "x"})
    before = await only(hub)
    await hub.stop()
    await start(hub, map="join(',', payload)")

    with pytest.raises(Rejected, match="map fails"):
        await hub.engine.again(before, "program")

    after = await only(hub)
    assert (after.id, after.status, after.code, after.event) == (before.id, DeliveryStatus.REJECTED, "map.invalid", before.event)
    assert after.changed_at is not None


async def test_a_delivery_is_replayed_once(hub: Hub) -> None:
    await start(hub, filter="payload > `1`")
    await emit(hub, 1)
    kept = await only(hub)
    hub.rules.clear()

    results = await asyncio.gather(*(hub.engine.again(kept, "program") for _ in range(5)), return_exceptions=True)

    assert [type(result) for result in results[1:]] == [Conflict] * 4
    assert len(await payloads(hub)) == 1
    with pytest.raises(Conflict, match="replayed already") as caught:
        await hub.engine.again(kept, "program")
    assert caught.value.code == "delivery.replayed"


async def test_a_delivery_that_was_pruned_meanwhile_cannot_be_replayed(hub: Hub) -> None:
    await start(hub, filter="`false`")
    await emit(hub, 1)
    kept = replace(await only(hub), id="gone")
    hub.rules.clear()

    with pytest.raises(NotFound, match="stored no longer"):
        await hub.engine.again(kept, "program")

    assert await payloads(hub) == []


async def test_what_could_not_be_stored_whole_cannot_be_replayed_and_says_so(hub: Hub) -> None:
    await start(hub)
    with pytest.raises(Rejected):
        await emit(hub, object())

    with pytest.raises(Rejected, match="could not be stored whole"):
        await hub.engine.again(await only(hub), "program")

    assert ((await only(hub)).status, (await only(hub)).code) == (DeliveryStatus.DEAD, "delivery.unreadable")
