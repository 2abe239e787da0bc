"""The bus: the one way in. validate → admit → commit → wake.

`emit` and `create` return only when the instance is on disk; then the trigger may acknowledge. The bus never looks at the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from hub.core.admission import BATCH, check_derived_id, check_id, unknown_workflow
from hub.core.delivery import Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import Conflict, HubError, Rejected, Unavailable
from hub.core.model import Instance, NewInstance, Status
from hub.core.ports import BatchCreated, BatchError, Created, CreateRequest
from hub.core.writes import CreateInstance, Outcome, Verdict
from hub.engine.committer import Committer
from hub.engine.intake import Intake
from hub.engine.runner import Runner
from hub.engine.telemetry import Telemetry


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

    async def emit(self, trigger: str, workflow: str, event: TriggerEvent) -> Receipt:
        """Create the instance that a trigger's event asks for. Raises: Rejected, Unavailable."""
        request = CreateRequest(
            workflow=event.workflow or workflow,
            params=event.payload,
            id=event.instance_id,
            source=event.source,
            trigger=trigger,
            dedupe_key=event.key,
            schedule=event.schedule,
        )
        try:
            new = self._intake.admit(request, check_derived_id)
            outcome = await self._commit(new)
        except Unavailable:
            self._telemetry.unavailable += 1
            raise
        except HubError as error:
            self._telemetry.rejected += 1
            if isinstance(error, Rejected):
                raise
            raise Rejected(error.message, code=error.code) from error
        if outcome.verdict is Verdict.MISSING:
            raise Rejected(f'workflow "{new.workflow}" was deleted; restart the hub to register it again', code="workflow.not_found")
        created = outcome.verdict is Verdict.APPLIED
        return Receipt(
            status=ReceiptStatus.CREATED if created else ReceiptStatus.DUPLICATE,
            workflow=new.workflow,
            instance_id=outcome.id or new.id,
        )

    async def create(self, request: CreateRequest) -> Created:
        """Create one instance. Raises: Rejected, NotFound (workflow), Conflict (the id is taken), Unavailable."""
        new = self._intake.admit(request, check_id)
        return self._created(new, await self._commit(new))

    async def create_batch(self, requests: Sequence[CreateRequest]) -> BatchCreated:
        """Create 1 to 100 instances in one commit; all are validated before any is created."""
        if not 1 <= len(requests) <= BATCH:
            raise Rejected(f"a batch has 1 to {BATCH} instances, this one has {len(requests)}", code="batch.size")
        admitted = [self._intake.admit(request, check_id) for request in requests]
        seen: set[tuple[str, str]] = set()
        firsts = [new if (new.workflow, new.id) not in seen and not seen.add((new.workflow, new.id)) else None for new in admitted]  # type: ignore[func-returns-value]
        outcomes = await asyncio.gather(*(self._commit(new) for new in firsts if new is not None))
        answers = iter(outcomes)
        created: list[Created] = []
        errors: list[BatchError] = []
        for index, (new, first) in enumerate(zip(admitted, firsts, strict=True)):
            try:
                if first is None:
                    raise Rejected(f'the id "{new.id}" occurs twice in the batch', code="instance.duplicate_in_batch")
                created.append(self._created(new, next(answers)))
            except HubError as error:
                errors.append(BatchError(index=index, id=new.id, code=error.code, message=error.message))
        return BatchCreated(created=tuple(created), errors=tuple(errors))

    async def _commit(self, new: NewInstance) -> Outcome:
        await self._committer.room()
        node = self._runner.reserve()
        future = self._committer.submit(CreateInstance(new=new, node=node), patient=False)
        # A callback, not code after the await: a caller that is cancelled here must not leave a claimed instance without execution.
        future.add_done_callback(partial(self._place, new, node))
        return await asyncio.shield(future)

    def _place(self, new: NewInstance, node: int | None, future: asyncio.Future[Outcome]) -> None:
        failed = future.cancelled() or future.exception() is not None
        outcome = None if failed else future.result()
        if outcome is not None and outcome.verdict is Verdict.APPLIED:
            self._telemetry.created += 1
        elif outcome is not None:
            self._telemetry.duplicates += 1
        if node is None:
            return
        if outcome is None or outcome.verdict is not Verdict.APPLIED or outcome.instance is None:
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
            )
        )

    def _created(self, new: NewInstance, outcome: Outcome) -> Created:
        if outcome.verdict is Verdict.MISSING:
            raise unknown_workflow(new.workflow, ())
        if outcome.verdict is Verdict.CONFLICT:
            raise Conflict(f'an instance "{new.id}" of workflow "{new.workflow}" exists already', code="instance.already_exists")
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
