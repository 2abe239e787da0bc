"""The engine and the desk as a caller sees them who may not see payloads: the same ports, with every value that they return veiled.

Every method is written out on purpose: one that the ports get is not there for such a caller before somebody has decided what it hides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from hub.core.delivery import Delivery, DeliveryQuery, Occurrence, Receipt, TriggerView
from hub.core.desk import Desk
from hub.core.errors import Rejected
from hub.core.flow import Overlap
from hub.core.logs import StoredLine
from hub.core.model import Instance, Page, Snapshot, Source, Status, Version, WorkflowRecord
from hub.core.nodes import NodeRecord
from hub.core.ports import BatchCreated, Created, CreateRequest, Engine
from hub.core.stream import InstanceEvent
from hub.core.veil import HIDDEN, veil_delivery, veil_event, veil_instance, veil_snapshot, veil_trigger
from hub.core.writes import RestartPoint, Verb

_PLAIN = (WorkflowRecord, NodeRecord, Version)  # hold no payload


class VeiledEngine:
    """`Engine` without payloads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, request: CreateRequest) -> Created:
        """Create one instance."""
        return await self._engine.create(request)

    async def create_batch(self, requests: Sequence[CreateRequest]) -> BatchCreated:
        """Create several instances."""
        return await self._engine.create_batch(requests)

    async def steer(
        self, workflow: str, id: str, verb: Verb, *, rollback: bool = False, cascade: bool = False, source: Source = Source.UNKNOWN
    ) -> Status:
        """Pause, resume or terminate."""
        return await self._engine.steer(workflow, id, verb, rollback=rollback, cascade=cascade, source=source)

    async def restart(self, workflow: str, id: str, origin: RestartPoint | None = None) -> Status:
        """Run again."""
        return await self._engine.restart(workflow, id, origin)

    async def send_event(self, workflow: str, id: str, type: str, payload: Any) -> datetime:
        """Send an event."""
        return await self._engine.send_event(workflow, id, type, payload)

    async def delete(self, workflow: str, id: str) -> None:
        """Forget an instance."""
        await self._engine.delete(workflow, id)

    async def delete_workflow(self, name: str) -> None:
        """Forget a workflow."""
        await self._engine.delete_workflow(name)

    async def describe(self, workflow: str, id: str) -> Snapshot:
        """Return an instance with its journal, veiled."""
        return veil_snapshot(await self._engine.describe(workflow, id))

    async def instance(self, workflow: str, id: str) -> Instance:
        """Return the head of an instance, veiled."""
        return veil_instance(await self._engine.instance(workflow, id))

    async def subscribe(
        self, workflow: str, id: str, cursor: int | None = None, filter: Collection[str] | None = None
    ) -> AsyncIterator[InstanceEvent]:
        """Return the events of an instance, veiled."""
        events = await self._engine.subscribe(workflow, id, cursor, filter)
        return _veiled(events)

    async def find(self, query: Any) -> Page[Any]:
        """Answer a query, veiled. Raises: TypeError for what nobody has decided about."""
        page: Page[Any] = await self._engine.find(query)
        return replace(page, items=tuple(_item(item) for item in page.items))

    async def workflow(self, name: str) -> WorkflowRecord:
        """Return one workflow."""
        return await self._engine.workflow(name)

    async def ready(self) -> None:
        """Return when the store answers."""
        await self._engine.ready()


async def _veiled(events: AsyncIterator[InstanceEvent]) -> AsyncIterator[InstanceEvent]:
    async for event in events:
        yield veil_event(event)


def _item(item: Any) -> Any:
    if isinstance(item, Instance):
        return veil_instance(item)
    if isinstance(item, StoredLine):
        return replace(item, line=replace(item.line, message=HIDDEN))
    if isinstance(item, _PLAIN):
        return item
    raise TypeError(f"nobody has said what to hide of {type(item).__name__}")


class VeiledDesk:
    """`Desk` without payloads."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def triggers(self) -> Sequence[TriggerView]:
        """Return all triggers."""
        return [veil_trigger(view) for view in await self._desk.triggers()]

    async def trigger(self, name: str) -> TriggerView:
        """Return one trigger."""
        return veil_trigger(await self._desk.trigger(name))

    async def pause(self, name: str, note: str | None = None) -> TriggerView:
        """Pause a trigger."""
        return veil_trigger(await self._desk.pause(name, note))

    async def resume(self, name: str) -> TriggerView:
        """Resume a trigger."""
        return veil_trigger(await self._desk.resume(name))

    async def fire(self, name: str, payload: Any = None, key: str | None = None) -> Receipt:
        """Emit an event; what the answer quotes is the caller's own, or else what the schedule gives."""
        if payload is not None:
            return await self._desk.fire(name, payload, key)
        with _unquoted("refused"):
            return await self._desk.fire(name, payload, key)

    def preview(self, name: str, after: datetime, count: int) -> tuple[str, Sequence[Occurrence]]:
        """Return a schedule in words and its next occurrences."""
        return self._desk.preview(name, after, count)

    async def backfill(
        self, name: str, start: datetime, end: datetime, *, overlap: Overlap | None = None, limit: int = 100, dry_run: bool = False
    ) -> Sequence[tuple[Occurrence, Receipt | None]]:
        """Emit occurrences; why one was refused quotes what the schedule gives, and what is wrong with the span quotes nothing."""
        found = await self._desk.backfill(name, start, end, overlap=overlap, limit=limit, dry_run=True)
        if dry_run:
            return found
        with _unquoted("refused"):
            return await self._desk.backfill(name, start, end, overlap=overlap, limit=limit)

    async def deliveries(self, query: DeliveryQuery) -> Page[Delivery]:
        """Return one page of stored deliveries, veiled."""
        page = await self._desk.deliveries(query)
        return replace(page, items=tuple(veil_delivery(delivery) for delivery in page.items))

    async def delivery(self, id: str) -> Delivery:
        """Return one stored delivery, veiled."""
        return veil_delivery(await self._desk.delivery(id))

    async def replay(self, id: str) -> Receipt:
        """Emit a stored delivery again; why it was refused quotes what it holds."""
        with _unquoted("refused again"):
            return await self._desk.replay(id)


@contextmanager
def _unquoted(what: str) -> Iterator[None]:
    """Hide why something was refused."""
    try:
        yield
    except Rejected as error:
        raise Rejected(f"{what}: {HIDDEN}", code=error.code) from None
