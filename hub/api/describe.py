"""A snapshot as Cloudflare's describe object. Pure: no clock, no engine, no server.

The rules beyond copying fields: a name carries its counter (`charge-1`); a step lists its failed attempts and the current or last one; a
step's `output` is the JSON text of the whole value (the SDKs type it as text), null as long as there is none, `[REDACTED]` where the author
hides it; the instance's own `params` and `output` are JSON values; `end` of an unfinished sleep or wait is when it will end, which the SDKs
need to recognise it; a workflow that the instance has started is a step with one attempt and the field `child`.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any, cast

from hub.api.envelope import timestamp
from hub.api.results import (
    AnyStepItem,
    AttemptItem,
    ChildItem,
    ErrorItem,
    InstanceDetail,
    RollbackItem,
    ScheduleItem,
    SleepItem,
    StepDetail,
    StepItem,
    TerminationItem,
    TriggerItem,
    WaitItem,
)
from hub.core.codec import dump_plain, encode, plain
from hub.core.deliveries import provenance_of
from hub.core.errors import ErrorInfo, NotFound
from hub.core.model import (
    FINAL,
    Attempt,
    Entry,
    Instance,
    Kind,
    Rollback,
    Schedule,
    Snapshot,
    Source,
    State,
    Status,
    StepConfig,
    Termination,
)
from hub.core.retry import describe_config
from hub.core.stream import REDACTED

_DEFAULTS = StepConfig()


def describe_instance(
    snapshot: Snapshot, *, parent: Instance | None = None, descending: bool = False, simple: bool = False
) -> InstanceDetail:
    """Return the describe object. `simple` leaves the steps out; `parent` is the instance that started this one."""
    instance = snapshot.instance
    detail = InstanceDetail(
        id=instance.id,
        status=instance.status.value,
        params=plain(instance.params),
        trigger=_trigger(instance),
        versionId=instance.version,
        version_last_run_id=instance.version_ran or instance.version,
        queued=timestamp(instance.created_at),
        start=timestamp(instance.started_at),
        end=timestamp(instance.ended_at),
        success=_success(instance),
        output=None if instance.output is None else plain(instance.output),
        error=error_item(instance.error),
        rollback=_rollback(instance.rollback),
        step_count=len(snapshot.entries),
    )
    if parent is not None:
        detail["parent"] = ChildItem(workflow_name=parent.workflow, instance_id=parent.id)
    if instance.schedule is not None:
        detail["schedule"] = _schedule(instance.schedule)
    if instance.labels.tags:
        detail["tags"] = list(instance.labels.tags)
    if instance.labels.metadata:
        detail["metadata"] = dict(instance.labels.metadata)
    if not simple:
        steps = describe_steps(snapshot)
        detail["steps"] = steps[::-1] if descending else steps
    return detail


def describe_steps(snapshot: Snapshot) -> list[AnyStepItem]:
    """Return the journal in the order in which its entries began."""
    failed: defaultdict[tuple[Kind, str, int], list[Attempt]] = defaultdict(list)
    for attempt in snapshot.attempts:
        failed[attempt.kind, attempt.name, attempt.count].append(attempt)
    live = snapshot.instance.status not in FINAL
    steps = [_describe_entry(entry, failed[entry.kind, entry.name, entry.count], live=live) for entry in snapshot.entries]
    if snapshot.instance.status is Status.TERMINATED:
        steps.append(_describe_termination(snapshot.instance.terminated_by))
    return steps


def _describe_termination(by: Termination | None) -> TerminationItem:
    source = Source.UNKNOWN if by is None else by.source
    item = TerminationItem(type="termination", trigger=TriggerItem(source=source.value))
    if by is not None and by.cascade:
        item["cascade"] = True
    return item


def describe_step(snapshot: Snapshot, name: str, kind: Kind, attempt: int | None = None) -> StepDetail:
    """Return one step with its whole output. Raises: NotFound (`step.not_found`)."""
    entry = _find(snapshot, name, kind)
    failed = {row.number: row for row in snapshot.attempts if (row.kind, row.name, row.count) == (entry.kind, entry.name, entry.count)}
    if attempt in failed:
        return StepDetail(status="errored", error=error_item(failed[attempt].error), output=None)
    if attempt is not None and attempt != entry.attempt:
        raise NotFound(f'step "{name}" has no attempt {attempt}', code="step.not_found")
    last = failed.get(entry.attempt)
    error = entry.error or (last.error if last is not None and entry.state is State.WAITING else None)
    detail = StepDetail(status=_STEP_STATUS[entry.kind, entry.state], error=error_item(error), output=_value(entry))
    if entry.kind is Kind.EVENT:
        detail["event_type"] = entry.event_type
    if entry.kind is Kind.CHILD:
        detail["child"] = child_of(entry)
    return detail


def child_of(entry: Entry) -> ChildItem:
    """Return which instance an entry has started."""
    workflow, _, id = (entry.child or "").partition("/")  # names of workflows hold no slash, ids may
    return ChildItem(workflow_name=workflow, instance_id=id)


def _find(snapshot: Snapshot, name: str, kind: Kind) -> Entry:
    """Return an entry by its name with counter. A workflow that was started counts as a step too, unless a step has that name."""
    for wanted in (Kind.STEP, Kind.CHILD) if kind is Kind.STEP else (kind,):
        for entry in snapshot.entries:
            if entry.kind is wanted and entry.target == name:
                return entry
    message = f'instance "{snapshot.instance.id}" has no {kind.value} "{name}"; names carry a counter: charge-1'
    raise NotFound(message, code="step.not_found")


_STEP_STATUS: dict[tuple[Kind, State], Any] = {
    (kind, state): word
    for kind in Kind
    for state, word in {
        State.RUNNING: "running",
        State.WAITING: "running" if kind in (Kind.STEP, Kind.ROLLBACK) else "waiting",
        State.DONE: "complete",
        State.FAILED: "errored",
    }.items()
}


def _trigger(instance: Instance) -> TriggerItem:
    item, origin = TriggerItem(source=instance.source.value), provenance_of(instance)
    if origin is None:
        return item
    told = {
        "name": origin.name,
        "key": origin.key,
        "subject": origin.subject,
        "headers": dict(origin.headers),
        "metadata": plain(encode(origin.metadata)),  # whatever a plug-in has put there
        "occurred_on": timestamp(origin.occurred_at),
        "delivery_id": origin.delivery,
    }
    return cast(TriggerItem, item | {name: value for name, value in told.items() if value is not None and value != {}})


def _success(instance: Instance) -> bool | None:
    return instance.status is Status.COMPLETE if instance.status in FINAL else None


def _schedule(schedule: Schedule) -> ScheduleItem:
    return ScheduleItem(cron=schedule.cron, scheduledTime=round(schedule.scheduled_at.timestamp() * 1000))


def _describe_entry(entry: Entry, failed: list[Attempt], *, live: bool) -> AnyStepItem:
    if entry.kind is Kind.CHILD:
        return _describe_child(entry)
    if entry.kind in (Kind.STEP, Kind.ROLLBACK):
        return _describe_do(entry, failed, live=live)
    start, end = timestamp(entry.started_at), timestamp(entry.ended_at or entry.wake_at)
    finished, error = entry.state in (State.DONE, State.FAILED), error_item(entry.error)
    if entry.kind is Kind.SLEEP:
        return SleepItem(type="sleep", name=entry.target, start=start, end=end, finished=finished, error=error)
    wait = WaitItem(
        type="waitForEvent", name=entry.target, start=start, end=end, finished=finished, error=error, event_type=entry.event_type
    )
    if finished:
        wait["output"] = _text(entry)
    return wait


def _describe_do(entry: Entry, failed: list[Attempt], *, live: bool) -> StepItem:
    settled = entry.state in (State.DONE, State.FAILED)
    step = StepItem(
        type="step" if entry.kind is Kind.STEP else "rollback",
        name=entry.target,
        start=timestamp(entry.started_at),
        end=timestamp(entry.ended_at),
        success=entry.state is State.DONE if settled else None,
        output=_text(entry),
        config=describe_config(entry.config or _DEFAULTS),
        attempts=_attempts(entry, failed),
    )
    if live and entry.state is State.WAITING and entry.wake_at is not None:
        step["retries_at"] = timestamp(entry.wake_at)
    return step


def _describe_child(entry: Entry) -> StepItem:
    success = None if entry.state is State.WAITING else entry.state is State.DONE
    patience = entry.wake_at and (entry.wake_at - entry.started_at) // timedelta(milliseconds=1)
    return StepItem(
        type="step",
        name=entry.target,
        start=timestamp(entry.started_at),
        end=timestamp(entry.ended_at),
        success=success,
        output=_text(entry),
        config={"retries": {"limit": 0, "delay": 0, "backoff": "constant"}, "timeout": patience or "none"},
        attempts=[_attempt(entry.started_at, entry.ended_at, success, entry.error)],
        child=child_of(entry),
    )


def _rollback(rollback: Rollback | None) -> RollbackItem | None:
    if rollback is None:
        return None
    return RollbackItem(outcome="complete" if rollback.complete else "failed", error=error_item(rollback.error))


def _attempts(entry: Entry, failed: list[Attempt]) -> list[AttemptItem]:
    """Return the failed attempts and the current or last one, which has no row of its own."""
    shown = [_attempt(row.started_at, row.ended_at, False, row.error) for row in failed]
    if entry.state is not State.WAITING and all(row.number != entry.attempt for row in failed):
        success = None if entry.state is State.RUNNING else entry.state is State.DONE
        shown.append(_attempt(entry.attempt_started_at or entry.started_at, entry.ended_at, success, entry.error))
    return shown


def _attempt(start: datetime, end: datetime | None, success: bool | None, error: ErrorInfo | None) -> AttemptItem:
    return AttemptItem(start=timestamp(start), end=timestamp(end), success=success, error=error_item(error))


def error_item(error: ErrorInfo | None) -> ErrorItem | None:
    """Shape an error."""
    if error is None:
        return None
    item = ErrorItem(name=error.name, message=error.message)
    if error.stack is not None:
        item["stack"] = error.stack
    return item


def _hidden(entry: Entry) -> bool:
    return entry.output is not None and entry.config is not None and entry.config.sensitive


def _value(entry: Entry) -> Any:
    if _hidden(entry):
        return REDACTED
    return None if entry.output is None else plain(entry.output)


def _text(entry: Entry) -> str | None:
    value = _value(entry)
    return value if value is None or _hidden(entry) else dump_plain(value).decode()
