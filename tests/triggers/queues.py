"""A hub that consumes a queue of the real broker, on real time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hub.core.clock import SystemClock
from hub.core.deliveries import decode_event
from hub.core.delivery import Delivery, DeliveryQuery, Phase, TriggerHealth
from hub.core.model import InstanceQuery
from hub.core.ports import Handler, Store
from hub.core.writes import Outcome, Write
from hub.engine.context import TriggerSpec
from hub.plugins import parse_options
from tests.triggers.hosted import Hosted
from triggers.amqp import AmqpTrigger

DEADLINE_S = 30.0  # consuming again is promised within that
_POLL_S = 0.01
clock = SystemClock()


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str = "", within_s: float = DEADLINE_S) -> None:
    """Return when a condition holds. Raises: AssertionError when it does not hold in time."""
    end = clock.monotonic() + within_s
    while True:
        held = condition()
        if held if isinstance(held, bool) else await held:
            return
        assert clock.monotonic() < end, f"not within {within_s:.0f} s: {what or condition}"
        await clock.sleep(_POLL_S)


class Consuming(Hosted):
    """One queue trigger, called `queue`, in a real engine; `handler` makes it one without workflow."""

    def __init__(self, path: Path, url: str) -> None:
        self.transactions = 0
        super().__init__(path, datetime.now(UTC))
        self._url = url

    def store(self) -> Store:
        store = super().store()
        apply = store.apply

        async def counted(writes: Sequence[Write]) -> list[Outcome]:
            self.transactions += 1
            return await apply(writes)

        store.apply = counted  # type: ignore[method-assign]
        return store

    async def consume(self, queue: str, /, handler: Handler | None = None, *, wait: bool = True, **options: Any) -> None:
        """Start to consume, and return when the trigger does, or with `wait=False` at once."""
        config = parse_options(AmqpTrigger, {"url": self._url, "queue": queue, "watch": "200 ms", **options}, "triggers.0")
        workflow = "orders" if handler is None else None
        await self.host_specs(TriggerSpec("queue", workflow, AmqpTrigger(config), kind="amqp", handler=handler))
        if wait:
            await self.phase(Phase.CONSUMING)

    @property
    def health(self) -> TriggerHealth:
        return self.hosting.hosted["queue"].health

    async def pause(self, paused: bool) -> None:
        """Pause the trigger, or resume it, as an operator does."""
        await self.engine.ledger.steer("queue", paused=paused)
        await self.hosting.refresh()

    async def phase(self, *phases: Phase, within_s: float = DEADLINE_S) -> TriggerHealth:
        """Return how the trigger is once it is in one of these phases."""
        await until(lambda: self.health.phase in phases, f"{phases}", within_s)
        return self.health

    async def fact(self, name: str, value: Any) -> None:
        """Return when the trigger reports a fact."""
        await until(lambda: bool(self.health.facts.get(name) == value), f"{name} = {value}")

    async def payloads(self, count: int) -> list[Any]:
        """Return the payloads of all instances when there are that many."""

        async def enough() -> bool:
            return len(self.events) >= count

        await until(enough, f"{count} events")
        return [event.payload for event in self.events]

    async def instances(self) -> int:
        """Return how many instances there are."""
        page = await self.engine.find(InstanceQuery(limit=1, total=True))
        return page.total or 0

    async def deliveries(self, count: int) -> list[Delivery]:
        """Return the stored deliveries when there are that many."""
        found: list[Delivery] = []

        async def enough() -> bool:
            found[:] = (await self.engine.ledger.deliveries(DeliveryQuery(limit=100, heads=False))).items
            return len(found) >= count

        await until(enough, f"{count} deliveries")
        return found


def payload_of(delivery: Delivery) -> Any:
    """Return the payload that a delivery keeps."""
    return decode_event(delivery.event).payload


def numbers(count: int) -> Iterable[dict[str, int]]:
    """Return that many payloads."""
    return ({"n": number} for number in range(count))
