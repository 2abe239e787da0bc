"""Recorded journals: an instance as a JSON file, and new code run against it.

Owns the file's form. A replay executes nothing: no body, no timer, no write gets through; a real execution on a real store is stopped at
the first thing that the record does not have. The invariant: what passes would also go on in production, with the same journal.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hub.core import codec
from hub.core.errors import ErrorInfo, Nondeterminism
from hub.core.model import Attempt, Entry, Instance, Kind, NewInstance, Schedule, Snapshot, State, Status, Version
from hub.core.ports import Log, Store
from hub.core.writes import (
    CreateInstance,
    FailAttempt,
    Finish,
    Outcome,
    Park,
    RegisterWorkflow,
    SettleStep,
    StartChild,
    StartWait,
    Verdict,
    Write,
)
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.runner import RunnerOptions
from hub.testing.storage import Observed, temporary_store
from hub.testing.virtual import VirtualClock

SCHEMA = 1
HIDDEN = "[REDACTED]"  # what the API shows, too
_PATIENCE = timedelta(days=1)  # of virtual time; a program that neither asks nor ends has lost its way
_FOR_EVER = timedelta(days=3650)
_UNSETTLED = frozenset({State.RUNNING, State.WAITING})
_WORDS = {Kind.STEP: "step", Kind.SLEEP: "sleep", Kind.EVENT: "wait for event", Kind.CHILD: "workflow", Kind.ROLLBACK: "rollback"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """How far new code came with a recorded journal: to its end, or to something that the record does not have."""

    status: Status | None = None  # of the end; None = it goes on beyond the record
    output: Any = None
    error: ErrorInfo | None = None
    asks: str | None = None  # what it asks for beyond the record, or waits for in it


# ---- the file


def write_record(snapshot: Snapshot, file: Path) -> None:
    """Write an instance with its journal to a JSON file. Outputs that are marked as sensitive are left out."""
    head = snapshot.instance
    record = {
        "schema": SCHEMA,
        "workflow": head.workflow,
        "id": head.id,
        "status": head.status.value,
        "params": _json(head.params),
        "createdAt": _time(head.created_at),
        "recordedAt": _time(head.modified_at),
        "schedule": None if head.schedule is None else {"cron": head.schedule.cron, "scheduledAt": _time(head.schedule.scheduled_at)},
        "entries": [_entry_form(entry) for entry in snapshot.entries],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(file: Path) -> Snapshot:
    """Read what `write_record` wrote. Raises: ValueError when the file is not of that form."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']!r}; this version of the hub reads {SCHEMA}")
        schedule = record["schedule"]
        head = Instance(
            key=0,
            workflow=record["workflow"],
            id=record["id"],
            status=Status(record["status"]),
            created_at=datetime.fromisoformat(record["createdAt"]),
            modified_at=datetime.fromisoformat(record["recordedAt"]),
            schedule=schedule and Schedule(cron=schedule["cron"], scheduled_at=datetime.fromisoformat(schedule["scheduledAt"])),
            params=_bytes(record["params"]),
        )
        return Snapshot(instance=head, entries=tuple(map(_entry, record["entries"])))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not the record of an instance: {type(error).__name__}: {error}") from error


def _entry_form(entry: Entry) -> dict[str, Any]:
    form: dict[str, Any] = {
        "kind": entry.kind.value,
        "name": entry.name,
        "count": entry.count,
        "state": entry.state.value,
        "attempt": entry.attempt,
        "startedAt": _time(entry.started_at),
        "endedAt": _time(entry.ended_at),
        "wakeAt": _time(entry.wake_at),
        "eventType": entry.event_type,
        "child": entry.child,
        "error": None if entry.error is None else {"name": entry.error.name, "message": entry.error.message},
    }
    if entry.output is not None:
        form["output"] = HIDDEN if entry.config is not None and entry.config.sensitive else _json(entry.output)
    return {key: value for key, value in form.items() if value is not None or key == "output"}


def _entry(form: dict[str, Any]) -> Entry:
    def time(key: str) -> datetime | None:
        return datetime.fromisoformat(form[key]) if key in form else None

    return Entry(
        kind=Kind(form["kind"]),
        name=form["name"],
        count=form["count"],
        ordinal=0,
        state=State(form["state"]),
        attempt=form["attempt"],
        started_at=datetime.fromisoformat(form["startedAt"]),
        ended_at=time("endedAt"),
        wake_at=time("wakeAt"),
        event_type=form.get("eventType"),
        child=form.get("child"),
        output=_bytes(form["output"]) if "output" in form else None,
        error=ErrorInfo(**form["error"]) if "error" in form else None,
    )


def _json(encoded: bytes) -> Any:
    return json.loads(encoded)


def _bytes(form: Any) -> bytes:
    return json.dumps(form, ensure_ascii=False).encode()


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


# ---- the replay


async def replay(record: Snapshot, definitions: Sequence[Definition], options: RunnerOptions, log: Log, *, name: str) -> Replayed:
    """Run the definition of the recorded workflow against the record; `name` is the file's, for the message.

    Raises: Nondeterminism, naming both sides, when the journal contradicts the program, or when a complete instance would end otherwise.
    """
    async with temporary_store() as store:
        judge = _Judge(store, record)
        await store.open()
        try:
            await _put(store, record)
        finally:
            await store.close()
        clock = VirtualClock(record.instance.modified_at)
        engine = EmbeddedEngine(judge.port, clock, log, definitions, replace(options, grace=timedelta(0)), judge)
        await engine.start()
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                return await judge.verdict
        except TimeoutError:
            raise Nondeterminism(f"{name}: the program neither asks for anything nor ends; {_told(record)}") from None
        except Nondeterminism as error:
            raise Nondeterminism(f"{name}: {error.message}") from None
        finally:
            await engine.stop()


class _Judge(Observed):
    """The store and the rehearsal of a replay: it lets nothing through, and says how the program came on."""

    def __init__(self, store: Store, record: Snapshot) -> None:
        super().__init__(store)
        self._record = record
        self._closed = False
        self.verdict: asyncio.Future[Replayed] = asyncio.get_running_loop().create_future()

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Apply what only says that the program runs; judge by everything else, and drop the execution."""
        for write in writes:
            self._judge(write)
        if self.verdict.done() and not all(isinstance(write, RegisterWorkflow) for write in writes):
            return [Outcome(verdict=Verdict.FENCED) for _ in writes]
        return await super().apply(writes)

    def skips_sleep(self, _instance: Instance, _name: str) -> bool:
        """No sleep is skipped: a new one is beyond the record."""
        return False

    def skips_delay(self, _instance: Instance, _name: str) -> bool:
        """No back-off is skipped either."""
        return False

    def times_out(self, _instance: Instance, _name: str) -> bool:
        """Nor does a wait end."""
        return False

    def body(self, _instance: Instance, entry: Entry) -> Callable[[], Awaitable[Any]]:
        """Run nothing: a body that would run is beyond the record."""
        self._beyond(entry)
        return asyncio.get_running_loop().create_future

    def _judge(self, write: Write) -> None:
        if isinstance(write, SettleStep | StartWait | FailAttempt | StartChild):
            self._beyond(write.entry)
        elif isinstance(write, Park) and write.error is not None:
            self._contradict(write.error.message.partition(" Nothing was executed.")[0])
        elif isinstance(write, Park):
            self._beyond(*(write.entries or [entry for entry in self._record.entries if entry.state in _UNSETTLED]))
        elif isinstance(write, Finish):
            self._end(write)

    def _beyond(self, *entries: Entry) -> None:
        asks = ", ".join(map(shown, entries))
        if self._record.instance.status is Status.COMPLETE:
            self._contradict(f"the program asks for {asks}, but {_told(self._record)}")
        elif not self.verdict.done():
            self.verdict.set_result(Replayed(asks=asks))

    def _end(self, finish: Finish) -> None:
        if self._record.instance.status is Status.COMPLETE and finish.status is not Status.COMPLETE:
            error = finish.error
            self._contradict(f"the program fails with {error and error.name}: {error and error.message}, but {_told(self._record)}")
        elif not self.verdict.done():
            output = None if finish.output is None else codec.decode(finish.output)
            self.verdict.set_result(Replayed(status=finish.status, output=output, error=finish.error))

    def _contradict(self, message: str) -> None:
        if not self.verdict.done():
            self.verdict.set_exception(Nondeterminism(message))


async def _put(store: Store, record: Snapshot) -> None:
    """Write a record into an empty store, due at once."""
    head, now = record.instance, record.instance.modified_at
    node = await store.renew(None, timedelta(days=1), now)
    version = Version(id="recorded", workflow=head.workflow, class_name="", digest="recorded", created_at=now)
    new = NewInstance(
        workflow=head.workflow, id=head.id, params=head.params, created_at=head.created_at, schedule=head.schedule, version=version.id
    )
    _, created = await store.apply([RegisterWorkflow(version=version, script_name=""), CreateInstance(new=new, node=node)])
    key = created.instance or 0
    writes: list[Write] = [_entry_write(key, replace(entry, ordinal=number), now) for number, entry in enumerate(record.entries, 1)]
    writes.append(Park(instance=key, token=1, at=now, status=Status.QUEUED, wake_at=now, inbox_seen=0, started_at=head.created_at))
    await store.apply(writes)
    await store.renew(node, timedelta(0), now)


def _entry_write(key: int, entry: Entry, now: datetime) -> Write:
    """Return the write for an entry. What was under way stays so for ever: the program must ask for all of it before it is judged."""
    if entry.state not in _UNSETTLED:
        return SettleStep(instance=key, token=1, entry=entry)
    waiting = replace(entry, state=State.WAITING, wake_at=now + _FOR_EVER)
    if entry.kind not in (Kind.STEP, Kind.ROLLBACK):
        return StartWait(instance=key, token=1, entry=waiting)
    failed = Attempt(
        kind=entry.kind,
        name=entry.name,
        count=entry.count,
        number=entry.attempt,
        started_at=entry.started_at,
        ended_at=entry.started_at,
        error=ErrorInfo(name="StepInterrupted", message="under way when the instance was recorded"),
    )
    return FailAttempt(instance=key, token=1, entry=waiting, attempt=failed)


def _told(record: Snapshot) -> str:
    after = f" after {shown(record.entries[-1])}" if record.entries else ""
    return f"the recorded instance is {record.instance.status}{after}"


def shown(entry: Entry) -> str:
    """Name an entry of a journal."""
    return f'{_WORDS[entry.kind]} "{entry.name}" number {entry.count}'
