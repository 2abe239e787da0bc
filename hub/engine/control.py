"""The control verbs: what an operator, the API or a workflow may ask of an existing instance.

Each verb is one write; the lifecycle decides. When a verb returns, an execution on this node knows of it: after a terminate has been
answered no further step starts here.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime
from typing import Any

from hub.core import codec
from hub.core.admission import check_event_type, check_size, unknown_workflow
from hub.core.clock import Clock
from hub.core.errors import Conflict, NotFound, Rejected
from hub.core.model import FINAL, Instance, InstanceQuery, Snapshot, Source, Status, Termination, WorkflowQuery, WorkflowRecord
from hub.core.ports import Store
from hub.core.writes import DeleteInstance, DeleteWorkflow, Outcome, Restart, RestartPoint, SendEvent, Steer, Verb, Verdict, Write
from hub.engine.committer import Committer
from hub.engine.runner import Runner

LATEST = "latest"  # stands for the newest instance of a workflow wherever an id is expected


class Control:
    """Finds instances by workflow and id, and steers them."""

    def __init__(self, store: Store, committer: Committer, runner: Runner, clock: Clock, payload_bytes: int) -> None:
        self._store = store
        self._committer = committer
        self._runner = runner
        self._clock = clock
        self._payload_bytes = payload_bytes

    async def instance(self, workflow: str, id: str, *, heads: bool = False) -> Instance:
        """Return one instance. Raises: NotFound (`workflow.not_found` or `instance.not_found`)."""
        query = InstanceQuery(workflow=workflow, id=None if id == LATEST else id, limit=1, heads=heads)
        page = await self._store.find(query)
        if page.items:
            return page.items[0]
        await self.workflow(workflow, counts=False)
        if id == LATEST:
            raise NotFound(f'workflow "{workflow}" has no instances yet', code="instance.not_found")
        raise NotFound(f'instance "{id}" of workflow "{workflow}" not found', code="instance.not_found")

    async def workflow(self, name: str, *, counts: bool = True) -> WorkflowRecord:
        """Return one workflow, with `counts` of its instances by status. Raises: NotFound with the nearest name."""
        page = await self._store.find(WorkflowQuery(name=name, limit=1, counts=counts))
        if page.items:
            return page.items[0]
        known = await self._store.find(WorkflowQuery(limit=100, counts=False))
        raise unknown_workflow(name, (record.name for record in known.items))

    async def describe(self, workflow: str, id: str) -> Snapshot:
        """Return an instance with its journal. Raises: NotFound."""
        head = await self.instance(workflow, id, heads=True)
        snapshot = await self._store.load(head.key)
        if snapshot is None:
            raise NotFound(f'instance "{id}" of workflow "{workflow}" not found', code="instance.not_found")
        return snapshot

    async def steer(
        self, workflow: str, id: str, verb: Verb, *, rollback: bool = False, cascade: bool = False, source: Source = Source.UNKNOWN
    ) -> Status:
        """Pause, resume or terminate; returns the status after it.

        With `rollback` a termination runs the rollback handlers first; with `cascade` the same happens to the children that have not ended.
        A termination is kept with its `source`. Raises: NotFound, Conflict.
        """
        head = await self.instance(workflow, id, heads=True)
        by = Termination(source=source) if verb is Verb.TERMINATE else None
        return await self._steer(head, Steer(instance=head.key, verb=verb, at=self._clock.now(), rollback=rollback, by=by), cascade)

    async def _steer(self, head: Instance, steer: Steer, cascade: bool) -> Status:
        outcome = await self._commit(head, steer)
        if outcome.verdict is Verdict.CONFLICT:
            raise Conflict(f'cannot {steer.verb} instance "{head.id}": it is {outcome.status}', code=f"instance.cannot_{steer.verb}")
        if cascade:
            await self._steer_children(head, replace(steer, by=steer.by and replace(steer.by, cascade=True)))
        return outcome.status or Status.UNKNOWN

    async def _steer_children(self, head: Instance, steer: Steer) -> None:
        cursor: str | None = None
        while True:
            page = await self._store.find(InstanceQuery(parent=head.key, limit=100, cursor=cursor))
            for child in page.items:
                if child.status not in FINAL:
                    with contextlib.suppress(Conflict, NotFound):  # it has ended by itself meanwhile
                        await self._steer(child, replace(steer, instance=child.key, at=self._clock.now()), True)
            cursor = page.cursor
            if cursor is None:
                return

    async def restart(self, workflow: str, id: str, origin: RestartPoint | None = None) -> Status:
        """Run an instance again, from the start or from a step. Raises: NotFound, Conflict (no such step in its history)."""
        head = await self.instance(workflow, id, heads=True)
        outcome = await self._commit(head, Restart(instance=head.key, at=self._clock.now(), origin=origin), entry_missing_ok=True)
        if outcome.verdict is Verdict.MISSING and origin is not None:
            raise Conflict(
                f'Step "{origin.name}" (number {origin.count}) not found in execution history of instance "{head.id}"',
                code="instance.cannot_restart",
            )
        return outcome.status or Status.UNKNOWN

    async def send_event(self, workflow: str, id: str, type: str, payload: Any) -> datetime:
        """Put an event into the inbox of an instance; returns its time. Raises: Rejected, NotFound, Conflict (the instance has ended)."""
        check_event_type(type)
        try:
            encoded = codec.encode(payload, what="payload")
        except (TypeError, ValueError) as error:
            raise Rejected(str(error), code="payload.not_serialisable") from error
        check_size(encoded, self._payload_bytes, "event payload")
        head = await self.instance(workflow, id, heads=True)
        at = self._clock.now()
        outcome = await self._commit(head, SendEvent(instance=head.key, type=type, payload=encoded, at=at))
        if outcome.verdict is Verdict.CONFLICT:
            raise Conflict(f'instance "{head.id}" takes no events any more: it is {outcome.status}', code="instance.cannot_send_event")
        return at

    async def delete(self, workflow: str, id: str) -> None:
        """Forget an instance; a running one is stopped. Raises: NotFound."""
        head = await self.instance(workflow, id, heads=True)
        await self._commit(head, DeleteInstance(instance=head.key))

    async def delete_workflow(self, name: str) -> None:
        """Forget a workflow with all its instances; it is registered anew when the hub starts with it. Raises: NotFound."""
        await self.workflow(name, counts=False)
        await self._committer.submit(DeleteWorkflow(name=name), patient=False)

    async def _commit(self, head: Instance, write: Write, *, entry_missing_ok: bool = False) -> Outcome:
        outcome = await self._committer.submit(write, patient=False)
        if outcome.verdict is Verdict.MISSING and (outcome.id is None or not entry_missing_ok):
            raise NotFound(f'instance "{head.id}" of workflow "{head.workflow}" not found', code="instance.not_found")
        await self._runner.refresh(head.key)
        return outcome
