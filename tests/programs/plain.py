"""The plain interpreter: what a program must do, told by ordinary asyncio code in memory.

No engine, no journal, no replay. It is given the world that the real run has met: which events were sent when, and when the node was down
with what on disk; from that it says what happens, how often, and when. The invariant: work that was on disk at the end of a life is never
done again, and everything else goes on from the next life's beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

from hub.core.errors import NonRetryableError, StepInterrupted, StepTimeout, WaitTimeout

from .program import Actor, Block, Run, Strand, run_block, told

Entry = tuple[str, str, str, int]  # instance, kind, name, count
CLOSE_S = 0.05  # an end this short before a death may not have come to the disk
TINY_S = 1e-6  # what numbers lose on the way
SLACK_S = 0.3  # a life adds at most that to a run, beside the time that it is down
NEAR_S = 60.0  # an event this near to its deadline proves nothing
DOCUMENTED = {"limit": 5, "delay": 10_000, "backoff": "exponential"}


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A journal entry at the end of a life."""

    state: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Downtime:
    """The time between two lives. From `ending` no step begins, at `ended` the node was gone, at `risen` the next one was up."""

    ending: float
    ended: float
    risen: float
    disk: Mapping[Entry, OnDisk]


@dataclass(frozen=True, slots=True)
class Sent:
    """An event that an instance was sent."""

    instance: str
    type: str
    payload: str
    at: float


@dataclass(slots=True)
class World:
    """What a run has met. With `arrivals` events come as `Wait.arrival` says: this tells when a run without a fault would need them."""

    sent: list[Sent] = field(default_factory=list)
    downtimes: list[Downtime] = field(default_factory=list)
    undone: list[Entry] = field(default_factory=list)  # the handlers that began, in their order
    arrivals: Mapping[str, float | None] | None = None  # by name of the wait


@dataclass(slots=True)
class End:
    """How an instance ends."""

    output: Any = None
    error: str | None = None
    undone: bool | None = None  # the rollback: None = none was due
    at: float = 0.0


@dataclass(slots=True)
class Expected:
    """What a program must do."""

    ends: dict[str, End] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    begun: dict[Entry, float] = field(default_factory=dict)  # steps, when they began
    waits: list[tuple[str, str, str, float, float]] = field(default_factory=list)  # instance, name, type, began, timeout
    left: list[Sent] = field(default_factory=list)  # events that nobody has taken
    doubtful: str | None = None  # why the world does not decide what happens


async def expect(program: Mapping[str, Block], world: World, began: float = 0.0) -> Expected:
    """Run a program, and its children when it starts them; on a loop whose time jumps."""
    expected = Expected(left=sorted(world.sent, key=lambda sent: sent.at))
    await _until(began)
    await _run("root", program, world, expected)
    return expected


async def _run(instance: str, program: Mapping[str, Block], world: World, expected: Expected) -> End:
    end = expected.ends[instance] = End()
    actor = Actor(instance, 0, expected.runs.append)
    step = _PlainStep(instance, program, world, expected)
    try:
        end.output = await run_block(program[instance], step, actor)
    except Exception as error:
        end.error = told(error)
        await step.roll_back(error, end)
    end.at = _now()
    return end


class _PlainStep:
    """The operations of one instance."""

    def __init__(self, instance: str, program: Mapping[str, Block], world: World, expected: Expected) -> None:
        self._instance = instance
        self._program = program
        self._world = world
        self._expected = expected
        self._counts: dict[tuple[str, str], int] = {}
        self._undos: dict[Entry, tuple[float, Callable[..., Awaitable[None]], Mapping[str, Any]]] = {}
        self._outputs: dict[Entry, Any] = {}

    async def do(
        self,
        name: str,
        body: Callable[..., Awaitable[Any]],
        *,
        retries: Mapping[str, Any] | None = None,
        timeout: float = 600_000,
        rollback: Callable[..., Awaitable[None]] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
    ) -> Any:
        entry = self._next("step", name)
        if rollback is not None:
            self._undos[entry] = (0.0, rollback, rollback_config or {})
        value = await self._attempts(entry, body, retries or DOCUMENTED, timeout / 1000)
        self._outputs[entry] = value
        return value

    async def sleep(self, name: str, milliseconds: float) -> None:
        entry = self._next("sleep", name)
        await self._kept(entry, milliseconds / 1000)

    async def wait_for_event(self, name: str, type: str, *, timeout: float) -> dict[str, Any]:
        entry = self._next("waitForEvent", name)
        began = self._begin(entry)
        deadline = began + timeout / 1000
        self._expected.waits.append((self._instance, name, type, began, timeout / 1000))
        if self._world.arrivals is not None:
            arrival = self._world.arrivals[name]
            takes = arrival is not None and arrival < 1
            await self._go_on(began + max(0.0, arrival or 0.0) * (timeout / 1000) if takes else deadline)
            if not takes:
                raise WaitTimeout(f"{type} came late")
            return {"payload": None}
        mine = [sent for sent in self._expected.left if (sent.instance, sent.type) == (self._instance, type)]
        if mine and abs(mine[0].at - deadline) < NEAR_S:
            self._expected.doubtful = f"{type} came at the deadline of {name}"
        if not mine or mine[0].at > deadline:
            await self._go_on(deadline)
            raise WaitTimeout(f"{type} came late")
        self._expected.left.remove(mine[0])
        await self._go_on(max(began, mine[0].at))
        return {"payload": mine[0].payload}

    async def run_workflow(self, name: str, workflow: str, params: Any, *, id: str) -> Any:
        entry = self._next("workflow", name)
        await _until(self._begin(entry))
        end = await _run(id, self._program, self._world, self._expected)
        await self._go_on(end.at)
        if end.error is not None:
            raise WaitTimeout if end.error == WaitTimeout.__name__ else _Passed(end.error)
        return end.output

    async def roll_back(self, error: Exception, end: End) -> None:
        """Undo every step that has begun, the latest first, until a handler fails for good."""
        for entry in self._latest_first():
            _, undo, config = self._undos[entry]
            end.undone = True
            output = self._outputs.get(entry)
            try:
                await self._attempts(
                    _undo_of(entry),
                    partial(_undone, undo, output, error),
                    config.get("retries", DOCUMENTED),
                    config.get("timeout", 600_000) / 1000,
                )
            except Exception:
                end.undone = False
                return

    def _latest_first(self) -> list[Entry]:
        """Order the steps for the rollback. Nobody has promised which of two branches begins first: there it is as it was seen."""
        order = sorted(self._undos, key=lambda entry: self._undos[entry][0], reverse=True)
        for end in range(1, len(order)):
            at = end
            while at > 0 and self._seen_first(order[at], order[at - 1]):
                order[at - 1 : at + 1] = order[at], order[at - 1]
                at -= 1
        return order

    def _seen_first(self, one: Entry, other: Entry) -> bool:
        if abs(self._undos[one][0] - self._undos[other][0]) > SLACK_S or not side_by_side(strand(one[2]), strand(other[2])):
            return False
        undone = [undo for undo in self._world.undone if undo in (_undo_of(one), _undo_of(other))]
        return undone[:1] == [_undo_of(one)]

    # ---- attempts

    async def _attempts(self, entry: Entry, body: Callable[[Any], Awaitable[Any]], retries: Mapping[str, Any], timeout_s: float) -> Any:
        attempt = 0
        while True:
            attempt += 1
            context = SimpleNamespace(step={"name": entry[2], "count": entry[3]}, attempt=attempt)
            error, wait_s = await self._attempt(entry, context, body, timeout_s)
            if isinstance(error, Exception):
                if isinstance(error, NonRetryableError) or attempt > retries["limit"]:
                    await self._go_on(_now())
                    raise error
                if wait_s is None:
                    wait_s = _back_off(retries, attempt)
                await self._go_on(_now() + wait_s)
                continue
            await self._go_on(_now())
            return error

    async def _attempt(
        self, entry: Entry, context: Any, body: Callable[[Any], Awaitable[Any]], timeout_s: float
    ) -> tuple[Any, float | None]:
        """Return what the attempt gives, or its error, and the pause after it where the policy does not say it."""
        while True:
            start = _now()
            down = self._lost(entry, context.attempt, start)
            self._note(entry, start, new=context.attempt == 1)
            value: Any = None
            try:
                async with asyncio.timeout(timeout_s if down is None else min(timeout_s, down.risen - start)):
                    value = await body(context)
            except TimeoutError:
                value = StepTimeout(f"Execution timed out after {round(timeout_s * 1000)}ms")
            except Exception as error:
                value = error
            if down is None or _now() < down.ending - CLOSE_S:
                return value, None
            await _until(down.risen)
            kept = down.disk.get(entry)
            if kept is not None and kept.state == "running" and kept.attempt == context.attempt:
                return StepInterrupted(f"the process ended during attempt {context.attempt}"), 0.0
            # else nobody knew of it, and it runs again

    def _lost(self, entry: Entry, attempt: int, start: float) -> Downtime | None:
        """Return the first downtime after the start of an attempt, unless its end was on disk then."""
        down = next((down for down in self._world.downtimes if down.risen > start + TINY_S), None)
        kept = None if down is None else down.disk.get(entry)
        return None if kept is not None and (kept.state in ("done", "failed") or _past(kept, attempt)) else down

    def _note(self, entry: Entry, at: float, *, new: bool) -> None:
        """Remember when a step began: the order in which it is undone."""
        if new and entry[1] == "step":
            self._expected.begun[entry] = at
            if entry in self._undos:
                self._undos[entry] = (at + len(self._expected.runs) * 1e-9, *self._undos[entry][1:])

    # ---- time

    async def _kept(self, entry: Entry, seconds: float) -> None:
        await self._go_on(self._begin(entry) + seconds)

    def _begin(self, entry: Entry) -> float:
        """Return when an operation has begun for good: it begins again when its beginning was not on disk."""
        began = _now()
        for down in self._world.downtimes:
            if down.risen > began + TINY_S and down.ending <= began + CLOSE_S and entry not in down.disk:
                began = down.risen
        return began

    async def _go_on(self, at: float) -> None:
        """Return at that time, or as soon as the node is up after it; near a death the disk tells what had begun."""
        for down in self._world.downtimes:
            if down.ended + CLOSE_S < at < down.risen:
                at = down.risen
        await _until(at)

    def _next(self, kind: str, name: str) -> Entry:
        count = self._counts[kind, name] = self._counts.get((kind, name), 0) + 1
        return self._instance, kind, name, count


class _Passed(Exception):
    """The error of a child; it is told as the child tells it."""

    def __init__(self, text: str) -> None:
        name, _, message = text.partition(": ")
        super().__init__(message)
        self.name = name


def _past(kept: OnDisk, attempt: int) -> bool:
    return kept.attempt > attempt or (kept.state == "waiting" and kept.attempt == attempt)


def _back_off(retries: Mapping[str, Any], attempt: int) -> float:
    delay_s = float(retries["delay"]) / 1000
    growth: int = {"constant": 1, "linear": attempt, "exponential": 2 ** (attempt - 1)}[retries["backoff"]]
    return delay_s * growth


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(at: float) -> None:
    with contextlib.suppress(ValueError):
        await asyncio.sleep(max(0.0, at - _now()))


def side_by_side(one: Strand, other: Strand) -> bool:
    """Whether two strands are branches of one gather."""
    for (gather, branch), (other_gather, other_branch) in zip(one, other, strict=False):
        if gather != other_gather:
            return False
        if branch != other_branch:
            return True
    return False


def strand(name: str) -> Strand:
    """Read the strand from a name like `g1.0.g2.3.a`."""
    parts = name.split(".")[:-1]
    return tuple((int(gather[1:]), int(branch)) for gather, branch in zip(parts[::2], parts[1::2], strict=True))


def _undo_of(step: Entry) -> Entry:
    return step[0], "rollback", *step[2:]


async def _undone(undo: Callable[..., Awaitable[None]], output: Any, error: Any, ctx: Any) -> None:
    await undo(ctx, output, error)
