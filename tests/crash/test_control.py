"""A verb that was answered is effective after a death; one that was not is effective if, and only if, it was committed."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hub import NotFound, WorkflowEvent
from hub.core import codec
from hub.core.model import FINAL, State, Status
from hub.core.ports import CreateRequest
from hub.core.writes import Verb
from hub.engine.embedded import EmbeddedEngine

from .faults import AFTER, BEFORE, Fault, FaultyStore
from .forks import Lives, Stage
from .kills import Judge
from .ledger import Reader
from .node import STARTS, ended, file_store, node, until
from .programs import PATIENT, Ctx, Noted, Plain

ANSWERED = "answered"
_SIDES = (BEFORE, AFTER, ANSWERED)
_WRITES = {"pause": "Steer", "resume": "Steer", "terminate": "Steer", "restart": "Restart", "delete": "DeleteInstance", "send": "SendEvent"}
_OUTPUT = [1, 1]


class Held(Noted):
    """Parked: waits for an event between two steps."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def body(ctx: Ctx) -> int:
            return self.start(event, ctx)

        first = await step.do("first", body)
        await step.wait_for_event("hold", "go", timeout="1 hour")
        return [first, await step.do("second", body)]


class Busy(Noted):
    """In memory: its second step does not end in the first life."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def body(ctx: Ctx) -> int:
            return self.start(event, ctx)

        async def long(ctx: Ctx) -> int:
            if self.env.LIFE == 1:
                await asyncio.Event().wait()
            return self.start(event, ctx)

        return [await step.do("first", body), await step.do("long", long, retries=PATIENT)]


_PROGRAMS: dict[str, type[Noted]] = {"held": Held, "busy": Busy, "plain": Plain}


async def steer(stage: Stage) -> None:
    """Bring an instance to where the verb makes sense, use the verb, and die around it."""
    workflow, verb, side = stage.task["workflow"], stage.task["verb"], stage.task["side"]
    at = 2 if verb == "resume" else 1  # a pause comes first
    fault = Fault() if side == ANSWERED else Fault(kind=_WRITES[verb], at=at, side=side)
    store = FaultyStore(file_store(stage.folder), fault, stage.folder / "grave")
    async with node(stage.folder, _PROGRAMS, store=store, LIFE=1) as engine:
        await engine.create(CreateRequest(workflow=workflow, params={"n": 1}, id="it"))

        async def is_there() -> bool:
            found = await engine.describe(workflow, "it")
            if workflow == "held":
                return found.instance.status is Status.WAITING
            return any(entry.name == "long" and entry.state is State.RUNNING for entry in found.entries)

        await until(is_there)
        if verb == "resume":
            await engine.steer(workflow, "it", Verb.PAUSE)
        await _use(engine, workflow, verb)
        os.kill(os.getpid(), signal.SIGKILL)


async def _use(engine: EmbeddedEngine, workflow: str, verb: str) -> None:
    if verb == "restart":
        await engine.restart(workflow, "it")
    elif verb == "delete":
        await engine.delete(workflow, "it")
    elif verb == "send":
        await engine.send_event(workflow, "it", "go", None)
    else:
        await engine.steer(workflow, "it", Verb(verb))


async def look_after(stage: Stage) -> dict[str, Any]:
    """Start again and let another instance run through; say how the one is then, and bring it to its end."""
    workflow = stage.task["workflow"]
    async with node(stage.folder, _PROGRAMS, LIFE=2) as engine:
        other = await engine.create(CreateRequest(workflow="plain", params={"n": 1}))
        await ended(engine, "plain", other.id)
        try:
            found = (await engine.instance(workflow, "it")).status
        except NotFound:
            return {"found": None, "started": 0}
        started = sum(line[0] == "2" and line[2] == "it" for line in Reader(stage.folder / STARTS).news())
        if found is Status.PAUSED:
            await engine.steer(workflow, "it", Verb.RESUME)
        if stage.task["send"] and found not in FINAL:
            await engine.send_event(workflow, "it", "go", None)
        last = await ended(engine, workflow, "it")
        return {"found": found, "started": started, "status": last.status, "output": codec.decode(last.output or b"null")}


_CASES = [(verb, workflow) for verb in _WRITES for workflow in ("held", "busy") if (verb, workflow) != ("send", "busy")]


@pytest.mark.parametrize("side", _SIDES)
@pytest.mark.parametrize(("verb", "workflow"), _CASES)
def test_a_verb_is_effective_after_a_death_if_it_was_committed(
    lives: Lives, folder: Path, verb: str, workflow: str, side: str
) -> None:
    judge, committed = Judge(folder), side != BEFORE
    assert lives.run(steer, folder, workflow=workflow, verb=verb, side=side).killed
    assert judge.hear() == []
    judge.look()
    send = workflow == "held" and not (verb == "send" and committed)
    after = lives.run(look_after, folder, workflow=workflow, send=send).result
    forbidden = judge.hear()

    assert (after["found"] is None) == (verb == "delete" and committed)
    assert (after["found"] == "terminated") == (verb == "terminate" and committed)
    assert (after["found"] == "paused") == (committed if verb == "pause" else verb == "resume" and not committed)
    if after["found"] in ("paused", "terminated", None):
        assert after["started"] == 0
    assert forbidden == []  # a restart has emptied the journal before the judge has looked
    firsts = judge.starts_of((workflow, "it", "first", 1))
    assert firsts == (2 if verb == "restart" and committed else 1)
    if after["found"] is not None and after["found"] != "terminated":
        assert (after["status"], after["output"]) == ("complete", _OUTPUT)
    else:
        assert judge.starts_of((workflow, "it", "second", 1)) == judge.starts_of((workflow, "it", "long", 1)) == 0
