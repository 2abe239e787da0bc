"""The bus: the one way in. validate → admit → commit → wake.

`emit` and `create` return only when the instance is on disk; then the trigger may acknowledge. The bus never looks at the journal.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from hub.core.admission import BATCH, check_derived_id, check_id, deleted_workflow
from hub.core.admit import collects
from hub.core.delivery import Delivery, DeliveryStatus, Provenance, Receipt, ReceiptStatus, TriggerEvent
from hub.core.duration import format_duration
from hub.core.errors import Conflict, HubError, NotFound, Overloaded, RateLimited, Rejected, Unavailable
from hub.core.flow import NONE, Refusal
from hub.core.model import Instance, NewInstance, Status
from hub.core.ports import BatchCreated, BatchError, Created, CreateRequest
from hub.core.values import changed
from hub.core.writes import NO_DELIVERY, OTHER_INPUT, REPLAYED, CancelInstances, CreateInstance, Outcome, Verdict
from hub.engine.committer import Committer
from hub.engine.intake import Intake
from hub.engine.runner import Runner
from hub.engine.telemetry import Telemetry

_RECEIPTS = {
    Verdict.APPLIED: ReceiptStatus.CREATED,
    Verdict.JOINED: ReceiptStatus.DELIVERED,
    Verdict.SKIPPED: ReceiptStatus.FILTERED,
}  # every other one that is answered is a duplicate, also of an id that is taken


class Bus:
    """Creates instances."""

    def __init__(
        self,
        committer: Committer,
        runner: Runner,
        telemetry: Telemetry,
        intake: Intake,
    ) -> None:
        self._committer = committer
        self._runner = runner
        self._telemetry = telemetry
        self._intake = intake

    async def emit(self, trigger: str, workflow: str, event: TriggerEvent, stored: Delivery | None = None) -> Receipt:
        """Create the instance that a trigger's event asks for, whose rules have been applied; `stored` is where the event comes from.

        FILTERED = the flow says no, `reason` says why; nothing is stored then. Raises: Rejected, Unavailable, and with `stored` Conflict
        (it has been replayed already) and NotFound (it is gone).
        """
        fresh = stored is not None and stored.status is not DeliveryStatus.HELD  # whoever replays wants another instance
        request = CreateRequest(
            workflow=workflow,
            params=event.payload,
            id=None if fresh else event.instance_id,
            source=event.source,
            trigger=trigger,
            dedupe_key=None if fresh else event.key,
            schedule=event.schedule,
            provenance=Provenance(
                name=trigger,
                key=event.key,
                subject=event.subject,
                headers=event.headers,
                metadata=event.metadata,
                occurred_at=event.occurred_at,
                delivery=None if stored is None else stored.id,
            ),
        )
        try:
            new = self._intake.admit(request, check_derived_id)
        except NotFound as error:
            raise Rejected(error.message, code=error.code) from error
        flow = self._intake.flows.of_event(trigger, workflow, event)
        replays = None if stored is None else stored.id
        outcome = await self._commit(CreateInstance(new=new, flow=flow, cursor=event.cursor, replays=replays))
        if stored is not None and outcome.verdict is Verdict.CONFLICT and outcome.reason != REPLAYED:
            raise Rejected(f'an instance "{new.id}" of workflow "{new.workflow}" exists already', code="instance.already_exists")
        return self._receipt(new, outcome)

    def _receipt(self, new: NewInstance, outcome: Outcome) -> Receipt:
        if outcome.reason == NO_DELIVERY:
            raise NotFound("the delivery is stored no longer", code="delivery.not_found")
        if outcome.reason == REPLAYED:
            raise Conflict(f'the delivery has been replayed already; it created "{outcome.id}"', code="delivery.replayed")
        if outcome.verdict is Verdict.MISSING:
            raise Rejected(f'workflow "{new.workflow}" was deleted; restart the hub to register it again', code="workflow.not_found")
        if outcome.verdict is Verdict.FULL:
            raise _full(new, outcome)
        reason = outcome.reason if outcome.verdict is Verdict.SKIPPED else None
        return Receipt(
            status=_RECEIPTS.get(outcome.verdict, ReceiptStatus.DUPLICATE),
            workflow=new.workflow,
            instance_id=outcome.id if outcome.verdict is Verdict.SKIPPED else outcome.id or new.id,
            reason=reason,
        )

    def cancels(self, trigger: str) -> bool:
        """Whether events of a trigger cancel instances."""
        return self._intake.flows.cancels(trigger)

    async def cancel(self, trigger: str, event: TriggerEvent) -> int:
        """Terminate the instances that an event cancels; return how many. Raises: Rejected (a key cannot be evaluated), Unavailable."""
        now = self._intake.now()
        found = self._intake.flows.cancelled(trigger, event)
        ends = [CancelInstances(key=key, at=now, reason=reason) for key, reason in found]
        outcomes = await asyncio.gather(*(self._committer.submit(end, patient=False) for end in ends))
        return sum(outcome.count for outcome in outcomes)

    async def create(self, request: CreateRequest) -> Created:
        """Create one instance, or join the one that collects for its workflow.

        Raises: Rejected, NotFound (workflow), Conflict (the id is taken, or the flow of the workflow says no), Unavailable (RateLimited and
        Overloaded too).
        """
        new, write = self._wanted(request)
        return self._created(new, await self._commit(write))

    def _wanted(self, request: CreateRequest) -> tuple[NewInstance, CreateInstance]:
        new = self._intake.admit(request, check_id)
        flow = self._intake.flows.of_params(new.workflow, new.params)
        return new, CreateInstance(new=new, flow=flow, idempotent=request.idempotent)

    async def create_batch(self, requests: Sequence[CreateRequest]) -> BatchCreated:
        """Create 1 to 100 instances in one commit; all are validated before any is created."""
        if not 1 <= len(requests) <= BATCH:
            raise Rejected(f"a batch has 1 to {BATCH} instances, this one has {len(requests)}", code="batch.size")
        wanted = [self._wanted(request) for request in requests]
        firsts: dict[tuple[str, str], CreateInstance] = {}
        for new, write in wanted:
            firsts.setdefault((new.workflow, new.id), write)
        answers = iter(await asyncio.gather(*(self._commit(write) for write in firsts.values())))
        created: list[Created] = []
        errors: list[BatchError] = []
        for index, (new, write) in enumerate(wanted):
            try:
                if firsts[new.workflow, new.id] is not write:
                    raise Rejected(f'the id "{new.id}" occurs twice in the batch', code="instance.duplicate_in_batch")
                created.append(self._created(new, next(answers)))
            except HubError as error:
                errors.append(BatchError(index=index, id=new.id, code=error.code, message=error.message))
        return BatchCreated(created=tuple(created), errors=tuple(errors))

    async def _commit(self, write: CreateInstance) -> Outcome:
        if self._committer.full:
            await self._committer.room()
        if write.flow is NONE or collects(write.flow) is None:  # what collects must not run before the store has put its payload together
            write = changed(write, node=self._runner.reserve(write.new.workflow))
        # `then`, not code after the await: a caller that is cancelled here must not leave a claimed instance without execution.
        return await self._committer.submit(write, patient=False, then=partial(self._place, write))

    def _place(self, write: CreateInstance, outcome: Outcome | None) -> None:
        new, node = write.new, write.node
        if outcome is not None and outcome.verdict is Verdict.APPLIED:
            self._telemetry.created += 1
        elif outcome is not None and outcome.verdict is Verdict.DUPLICATE and new.trigger is not None:
            self._telemetry.duplicates += 1
        if node is None:
            return
        if outcome is None or outcome.verdict is not Verdict.APPLIED or outcome.instance is None or outcome.waits:
            self._runner.release()
            return
        self._runner.adopt(
            Instance(
                key=outcome.instance,
                workflow=new.workflow,
                id=new.id,
                status=Status.QUEUED,
                created_at=new.created_at,
                modified_at=new.created_at,
                node=node,
                token=1,
                version=new.version,
                source=new.source,
                trigger=new.trigger,
                schedule=new.schedule,
                params=new.params,
                retention=new.retention,
                provenance=new.provenance,
                limited=bool(write.flow.concurrency),
            )
        )

    def _created(self, new: NewInstance, outcome: Outcome) -> Created:
        if outcome.verdict is Verdict.MISSING:
            raise deleted_workflow(new.workflow)
        if outcome.reason == OTHER_INPUT:
            told = "was created with other params, so this is no repetition; choose another id"
            raise Conflict(f'the instance "{new.id}" of workflow "{new.workflow}" {told}', code="instance.other_input")
        if outcome.verdict is Verdict.CONFLICT:
            raise Conflict(f'an instance "{new.id}" of workflow "{new.workflow}" exists already', code="instance.already_exists")
        if outcome.verdict is Verdict.FULL:
            raise _full(new, outcome)
        if outcome.verdict is Verdict.SKIPPED:
            raise _skipped(new, outcome)
        if outcome.instance is None:
            raise Unavailable
        return Created(
            workflow=new.workflow,
            id=outcome.id or new.id,
            status=outcome.status or Status.QUEUED,
            version=new.version,
            duplicate=outcome.verdict is Verdict.DUPLICATE,
            key=outcome.instance,
        )


def _full(new: NewInstance, outcome: Outcome) -> Overloaded:
    return Overloaded(
        f'workflow "{new.workflow}" has as many instances waiting as its `backlog` allows; try again later', retry_after=_wait(new, outcome)
    )


def _skipped(new: NewInstance, outcome: Outcome) -> HubError:
    """Return the error for an instance that the flow of its workflow does not allow."""
    if outcome.reason == Refusal.RATE_LIMIT:
        wait = _wait(new, outcome) or timedelta(0)
        told = format_duration(timedelta(seconds=max(1, math.ceil(wait.total_seconds()))))
        return RateLimited(
            f'more instances of workflow "{new.workflow}" were asked for than its rate limit allows; try again in {told}', retry_after=wait
        )
    there = f'"{outcome.id}" is' if outcome.id is not None else "another one is"
    return Conflict(
        f'no instance of workflow "{new.workflow}" was created: {there} in its way ({outcome.reason})', code=f"flow.{outcome.reason}"
    )


def _wait(new: NewInstance, outcome: Outcome) -> timedelta | None:
    return None if outcome.retry_at is None else max(outcome.retry_at - new.created_at, timedelta(0))
