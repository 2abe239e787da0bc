"""The gate of a trigger while the store comes and goes: what is held is released in its order, whatever happens in between."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from hub.core.delivery import DeliveryQuery, DeliveryStatus, ReceiptStatus, TriggerEvent
from hub.core.errors import Overloaded, Unavailable
from hub.core.model import InstanceQuery
from hub.core.writes import CreateInstance, KeepDelivery
from hub.engine.gate import AT_ONCE, FULL_FOR_S, Gate
from tests.engine.conftest import Hub


async def nothing(event: Any, step: Any) -> None:
    """Do nothing."""


async def shut(hub: Hub, most: int = 1000) -> Gate:
    """Start the hub and return a gate that holds."""
    await hub.start(program=nothing)
    gate = Gate("hook", "program", hub.engine.ledger, hub.engine.again, hub.clock, structlog.get_logger(), most=most)
    gate.pause()
    return gate


async def hold(gate: Gate, *numbers: int) -> None:
    for number in numbers:
        assert (await gate.hold(TriggerEvent(payload=number))).status is ReceiptStatus.HELD


async def created(hub: Hub) -> list[int]:
    page = await hub.engine.find(InstanceQuery(ascending=True, heads=False, limit=1000))
    return [int(instance.params) for instance in page.items]


async def test_a_release_waits_for_a_store_that_is_away(hub: Hub) -> None:
    gate = await shut(hub)
    await hold(gate, *range(AT_ONCE + 5))
    hub.refused = lambda write: isinstance(write, CreateInstance)

    gate.resume()
    await hub.clock.sleep(300)
    assert (await created(hub), gate.shut) == ([], True)
    hub.refused = lambda write: False
    await hub.clock.sleep(60)

    assert (await created(hub), gate.shut) == ([*range(AT_ONCE + 5)], False)


async def test_what_cannot_be_held_stays_with_the_sender_and_does_not_stand_in_the_way(hub: Hub) -> None:
    gate = await shut(hub)
    hub.refused = lambda write: isinstance(write, KeepDelivery)
    with pytest.raises(Unavailable):
        await hold(gate, 1)
    hub.refused = lambda write: False
    await hold(gate, 2)

    gate.resume()
    await hub.clock.sleep(60)

    assert (await created(hub), gate.shut) == ([2], False)


async def test_a_gate_that_holds_as_many_as_it_may_leaves_the_rest_with_the_senders(hub: Hub) -> None:
    gate = await shut(hub, most=2)
    await hold(gate, 1, 2)

    with pytest.raises(Overloaded, match='trigger "hook" is paused and holds 2 deliveries, as many as it may; resume it') as caught:
        await hold(gate, 3)

    assert caught.value.retry_after is not None
    gate.resume()
    await hub.clock.sleep(60)
    assert (await created(hub), gate.shut) == ([1, 2], False)


async def test_a_full_gate_refuses_without_asking_the_store_each_time(hub: Hub) -> None:
    gate = await shut(hub, most=1)
    await hold(gate, 1)
    asked = 0

    def ask(write: Any) -> bool:
        nonlocal asked
        asked += isinstance(write, KeepDelivery)
        return False

    hub.refused = ask
    for number in range(50):
        with pytest.raises(Overloaded):
            await hold(gate, number)
    assert asked == 1

    (held,) = await hub.engine.ledger.held("hook", 1)
    await hub.engine.again(held, "program")  # somebody replays it
    await hub.clock.sleep(FULL_FOR_S)
    await hold(gate, 2)


async def test_a_gate_that_is_stopped_during_a_release_leaves_the_rest_held(hub: Hub) -> None:
    gate = await shut(hub)
    await hold(gate, 1, 2)
    hub.refused = lambda write: isinstance(write, CreateInstance)

    gate.resume()
    await hub.clock.sleep(1)
    await gate.stop()
    await gate.stop()

    held = await hub.engine.find(DeliveryQuery(statuses=frozenset({DeliveryStatus.HELD})))
    assert len(held.items) == 2
    assert gate.shut


async def test_an_event_that_comes_during_a_release_goes_behind_what_was_held(hub: Hub) -> None:
    gate = await shut(hub)
    await hold(gate, 1, 2)

    gate.resume()
    assert gate.shut
    await hold(gate, 3)
    await hub.clock.sleep(60)

    assert (await created(hub), gate.shut) == ([1, 2, 3], False)


async def test_a_gate_with_nothing_behind_it_opens_at_once(hub: Hub) -> None:
    gate = await shut(hub)

    gate.resume()
    await hub.clock.sleep(0.1)

    assert not gate.shut
