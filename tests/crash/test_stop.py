"""A clean stop gives running bodies the grace period and loses nothing; it is no recovery."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from hub import WorkflowEvent
from hub.core.model import State
from hub.core.ports import CreateRequest
from hub.core.writes import Outcome, SettleStep, Write
from hub.engine.embedded import EmbeddedEngine

from .faults import Fault, FaultyStore
from .forks import Lives, Stage
from .kills import Judge
from .node import AT_ONCE_S, OPTIONS, clock, ended, file_store, node, until
from .programs import PATIENT, Ctx, Noted

_GRACE = timedelta(seconds=1)
_SHORT_S = 0.05  # after the stop has begun; over within the grace period
_STEPS = ("short", "short sync", "long", "long sync")


class OneStep(Noted):
    """A step of the length that its instance asks for; a long one does not end in the first life."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def short(ctx: Ctx) -> int:
            self.start(event, ctx)
            await self.env.STOP.wait()
            await clock.sleep(_SHORT_S)
            return 1

        def short_sync(ctx: Ctx) -> int:
            self.start(event, ctx)
            self.env.STOP_SYNC.wait()
            threading.Event().wait(_SHORT_S)
            return 1

        async def long(ctx: Ctx) -> int:
            self.start(event, ctx)
            if self.env.LIFE == 1:
                await asyncio.Event().wait()
            return 2

        def long_sync(ctx: Ctx) -> int:
            self.start(event, ctx)
            if self.env.LIFE == 1:
                threading.Event().wait()
            return 2

        bodies = {"short": short, "short sync": short_sync, "long": long, "long sync": long_sync}
        return await step.do("step", bodies[event.payload["length"]], retries=PATIENT)


class Rest(Noted):
    """Asleep while the node stops."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        await step.sleep("rest", 500)
        return 3


_PROGRAMS: dict[str, type[Noted]] = {"step": OneStep, "rest": Rest}


async def stop_in_the_middle(stage: Stage) -> None:
    """Stop when all bodies run, as SIGTERM does."""
    stop, stop_sync = asyncio.Event(), threading.Event()
    async with _node(stage, STOP=stop, STOP_SYNC=stop_sync) as engine:
        for length in _STEPS:
            await engine.create(CreateRequest(workflow="step", params={"n": 0, "length": length}, id=length.replace(" ", "-")))
        await engine.create(CreateRequest(workflow="rest", params={"n": 0}, id="rest"))

        async def all_run() -> bool:
            return all([await _runs(engine, length.replace(" ", "-")) for length in _STEPS])

        await until(all_run)
        stop.set()
        stop_sync.set()
    # the end of the block is the stop


async def go_on(stage: Stage) -> list[str]:
    """Return the statuses at the end."""
    async with _node(stage) as engine:
        ids = [("step", length.replace(" ", "-")) for length in _STEPS] + [("rest", "rest")]
        return [(await ended(engine, workflow, id)).status for workflow, id in ids]


async def _runs(engine: EmbeddedEngine, id: str) -> bool:
    return any(entry.state is State.RUNNING for entry in (await engine.describe("step", id)).entries)


def _node(stage: Stage, **bindings: Any) -> Any:
    return node(stage.folder, _PROGRAMS, options=replace(OPTIONS, grace=_GRACE), LIFE=stage.task["life"], **bindings)


def test_a_stop_lets_short_steps_end_and_interrupts_long_ones(lives: Lives, folder: Path) -> None:
    judge = Judge(folder)
    first = lives.run(stop_in_the_middle, folder, life=1)
    assert not first.killed
    assert judge.hear() == []
    judge.look()
    rows = judge.journal.instances()
    assert {id: row.status for (_, id), row in rows.items()} == {
        "short": "complete", "short-sync": "complete", "long": "queued", "long-sync": "queued", "rest": "waiting",
    }  # fmt: skip
    assert judge.journal.claimed() == 0

    assert lives.run(go_on, folder, life=2).result == ["complete"] * 5
    assert judge.hear() == []
    for id, attempts in {"short": 1, "short-sync": 1, "long": 2, "long-sync": 2}.items():
        assert judge.starts_of(("step", id, "step", 1)) == attempts
        assert (judge.journal.entries("step", id)["step", 1]["attempt"] or 1) == attempts
    assert {row.recoveries for row in judge.journal.instances().values()} == {0}


class Strands(Noted):
    """Two strands: one takes an event and has more to do, the other one waits for long."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def body(ctx: Ctx) -> int:
            return self.start(event, ctx)

        async def short_strand() -> Any:
            await step.wait_for_event("soon", "soon", timeout="1 hour")
            return await step.do("after", body)

        return await asyncio.gather(short_strand(), step.wait_for_event("late", "late", timeout="1 hour"))


class SlowSettle(FaultyStore):
    """A store that takes its time for the transaction that consumes an event."""

    def __init__(self, folder: Path) -> None:
        super().__init__(file_store(folder), Fault(), folder / "grave")
        self.consuming = asyncio.Event()
        self.go = asyncio.Event()

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        if any(isinstance(write, SettleStep) and write.consumes is not None for write in writes):
            self.consuming.set()
            await self.go.wait()
        return await super().apply(writes)


async def stop_while_an_event_is_consumed(stage: Stage) -> None:
    """Ask for the stop when the transaction is under way, and let the transaction end when the stop has been heard of."""
    store = SlowSettle(stage.folder)
    async with node(stage.folder, {"strands": Strands}, store=store) as engine:
        await engine.create(CreateRequest(workflow="strands", params={"n": 0}, id="it"))
        await engine.send_event("strands", "it", "soon", None)
        await store.consuming.wait()
        asyncio.get_running_loop().call_later(_SHORT_S, store.go.set)
    # the end of the block is the stop


async def see_the_strand_go_on(stage: Stage) -> None:
    """Return when the step after the event is on disk."""
    async with node(stage.folder, {"strands": Strands}) as engine:

        async def is_done() -> bool:
            return any(entry.name == "after" and entry.state is State.DONE for entry in (await engine.describe("strands", "it")).entries)

        await until(is_done)


def test_a_stop_does_not_put_a_strand_to_sleep_that_has_more_to_do(lives: Lives, folder: Path) -> None:
    judge = Judge(folder)
    lives.run(stop_while_an_event_is_consumed, folder)
    lives.run(see_the_strand_go_on, folder, deadline_s=AT_ONCE_S)
    assert judge.hear() == []
    assert judge.starts_of(("strands", "it", "after", 1)) == 1


def test_an_idle_node_stops_and_starts_again_without_a_trace(lives: Lives, folder: Path) -> None:
    for life in (1, 2):
        assert not lives.run(start_and_stop, folder, life=life).killed
    journal = Judge(folder).journal
    assert journal.integrity() == "ok"
    assert journal.instances() == {}


async def start_and_stop(stage: Stage) -> None:
    """Do nothing else."""
    async with _node(stage):
        pass
