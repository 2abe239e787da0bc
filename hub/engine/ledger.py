"""The ledger: what the store keeps of triggers beside instances, which are their records and the deliveries that created nothing.

Owns no rule: what is held, filtered or rejected is decided above. What a method returns is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from hub.core.clock import Clock
from hub.core.deliveries import encode_event
from hub.core.delivery import Delivery, DeliveryQuery, DeliveryStatus, TriggerEvent, TriggerQuery, TriggerRecord
from hub.core.errors import NotFound, Overloaded
from hub.core.ids import new_id
from hub.core.model import Page
from hub.core.ports import Store
from hub.core.writes import ChangeDelivery, KeepDelivery, MoveCursor, RegisterTrigger, SteerTrigger, Verdict, Write
from hub.engine.committer import Committer


@dataclass(frozen=True, slots=True)
class Finding:
    """Why something received created nothing: a stable code, and words for people. `instance_id` is who was in the way."""

    status: DeliveryStatus
    code: str
    message: str
    instance_id: str | None = None


class Ledger:
    """Records of triggers, and stored deliveries. Every method may raise Unavailable: nothing was written."""

    def __init__(self, store: Store, committer: Committer, clock: Clock) -> None:
        self._store = store
        self._committer = committer
        self._clock = clock

    # ---- records of triggers

    async def register(self, name: str, kind: str, workflow: str | None, digest: str) -> None:
        """Make a trigger known; see `RegisterTrigger`."""
        await self._commit(RegisterTrigger(name=name, kind=kind, workflow=workflow, digest=digest, at=self._clock.now()))

    async def records(self) -> Mapping[str, TriggerRecord]:
        """Return all records, by name."""
        page = await self._store.find(TriggerQuery(limit=100_000))
        return {record.name: record for record in page.items}

    async def record(self, name: str) -> TriggerRecord:
        """Return one record. Raises: NotFound."""
        page = await self._store.find(TriggerQuery(name=name))
        if not page.items:
            raise NotFound(f'no trigger "{name}" is known', code="trigger.not_found")
        return page.items[0]

    async def steer(self, name: str, *, paused: bool, note: str | None = None, at: datetime | None = None) -> None:
        """Pause or resume a trigger, on all nodes. Raises: NotFound."""
        if await self._commit(SteerTrigger(name=name, paused=paused, at=at or self._clock.now(), note=note)) is Verdict.MISSING:
            raise NotFound(f'no trigger "{name}" is known', code="trigger.not_found")

    async def move_cursor(self, name: str, expected: datetime | None, cursor: datetime) -> bool:
        """Move a cursor; False = it was not the expected one."""
        return await self._commit(MoveCursor(name=name, expected=expected, cursor=cursor, at=self._clock.now())) is Verdict.APPLIED

    # ---- deliveries

    async def keep(
        self,
        trigger: str,
        event: TriggerEvent,
        finding: Finding,
        *,
        workflow: str | None = None,
        cursor: datetime | None = None,
        since: datetime | None = None,
        most: int | None = None,
    ) -> str | None:
        """Store a delivery; return its id, or that of the same one that is stored already. With `cursor` the trigger's moves along.

        It tells of the occurrences from `since` on, or of one. None = another node has decided on one of them otherwise.
        Raises: Overloaded (the trigger has `most` of that status already).
        """
        now = self._clock.now()
        kept = Delivery(
            id=new_id(now),
            trigger=trigger,
            status=finding.status,
            received_at=now,
            code=finding.code,
            message=_storable(finding.message),
            key=None if event.key is None else _storable(event.key),
            event=encode_event(event),
            occurred_at=event.occurred_at,
            workflow=workflow,
            instance_id=finding.instance_id,
        )
        outcome = await self._committer.submit(KeepDelivery(delivery=kept, cursor=cursor, since=since, most=most), patient=False)
        if outcome.verdict is Verdict.FULL:
            raise Overloaded(f'trigger "{trigger}" has {most:,} deliveries that are {finding.status}, as many as it may')
        return outcome.id

    async def change(self, id: str, finding: Finding) -> None:
        """Say anew why a delivery is stored; one that was replayed meanwhile stays as it is."""
        message = _storable(finding.message)
        await self._commit(ChangeDelivery(id=id, status=finding.status, code=finding.code, message=message, at=self._clock.now()))

    async def held(self, trigger: str | None, limit: int) -> tuple[Delivery, ...]:
        """Return the oldest held deliveries of a trigger, or of all."""
        held = frozenset({DeliveryStatus.HELD})
        page = await self._store.find(DeliveryQuery(trigger=trigger, statuses=held, ascending=True, limit=limit, heads=False))
        return page.items

    async def delivery(self, id: str) -> Delivery:
        """Return one delivery with its event. Raises: NotFound."""
        page = await self._store.find(DeliveryQuery(id=id, limit=1, heads=False))
        if not page.items:
            raise NotFound(f'no delivery "{id}" is stored; `retention.deliveries` says how long they are', code="delivery.not_found")
        return page.items[0]

    async def deliveries(self, query: DeliveryQuery) -> Page[Delivery]:
        """Return one page of deliveries. Raises: Rejected (the cursor is not of this list)."""
        return await self._store.find(query)

    async def _commit(self, write: Write) -> Verdict:
        return (await self._committer.submit(write, patient=False)).verdict


def _storable(text: str) -> str:
    """Databases take no half surrogate pairs, and PostgreSQL no zero."""
    return text.encode("utf-8", "replace").decode().replace("\0", "�")
