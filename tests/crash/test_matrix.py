"""A process dies before and after every transaction of a workflow's life; the next one brings the instance to the same end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub import WorkflowEvent
from hub.core import codec
from hub.core.errors import Conflict
from hub.core.model import Status
from hub.core.ports import CreateRequest

from .faults import AFTER, BEFORE, SIDES, Fault, FaultyStore
from .forks import Ended, Lives, Stage
from .kills import Judge
from .ledger import Ledger, Reader
from .node import ACKS, AT_ONCE_S, OPTIONS, clock, ended, file_store, node, until
from .programs import PATIENT, TIRED, Ctx, Noted

GRAVE = "grave"  # the file that says at which transaction the process died
OUTPUT = [7, [14, 21], 7, "yes", 7]
BODIES = 7
_SEEN_S = 0.03  # longer than the watch's first look, so that the step gets a start record
_KINDS = ("RegisterWorkflow", "CreateInstance", "SettleStep", "FailAttempt", "StartWait", "Begin", "Park", "claim", "SendEvent", "Finish")
_SEVERAL_AT_ONCE = {BEFORE: 2, AFTER: 1}  # bodies whose results a death can swallow: both of the parallel ones, or the other one


class Everything(Noted):
    """A step, two at once, one that fails twice, a sleep in memory, a sleep that parks, an event, a step that is seen to start."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def plain(ctx: Ctx) -> int:
            return self.start(event, ctx)

        def doubled(ctx: Ctx) -> int:
            return self.start(event, ctx) * 2

        async def tripled(ctx: Ctx) -> int:
            return self.start(event, ctx) * 3

        async def flaky(ctx: Ctx) -> int:
            number = self.start(event, ctx)
            if ctx.attempt <= TIRED:
                raise ConnectionError("try again")
            return number

        async def seen(ctx: Ctx) -> int:
            number = self.start(event, ctx)
            await clock.sleep(_SEEN_S)
            return number

        first = await step.do("first", plain)
        pair = await asyncio.gather(step.do("left", doubled), step.do("right", tripled))
        third = await step.do("flaky", flaky, retries=PATIENT)
        await step.sleep("nap", 5)
        await step.sleep("night", 40)
        said = await step.wait_for_event("approval", "approved", timeout="1 minute")
        return [first, pair, third, said["payload"], await step.do("seen", seen, retries=PATIENT)]


async def cross(stage: Stage) -> dict[str, Any]:
    """Bring the instance to its end, or die on the way; the same program before and after a death, as a sender would write it."""
    store = FaultyStore(file_store(stage.folder), Fault(**stage.task["fault"]), stage.folder / GRAVE)
    options = replace(OPTIONS, lease=timedelta(milliseconds=stage.task["lease_ms"]))
    answered = {line[0] for line in Reader(stage.folder / ACKS).news()}
    acks = Ledger(stage.folder / ACKS)
    async with node(stage.folder, {"everything": Everything}, store=store, options=options, LIFE=stage.task["life"]) as engine:

        async def waits() -> bool:
            found = await engine.describe("everything", "the-one")
            asked = any(entry.name == "approval" for entry in found.entries)
            return asked and (found.instance.status is Status.WAITING or found.instance.ended_at is not None)

        if "created" not in answered:
            with contextlib.suppress(Conflict):  # committed, and the answer was swallowed
                await engine.create(CreateRequest(workflow="everything", params={"n": 7}, id="the-one"))
            acks.note("created")
        if "sent" not in answered:
            await until(waits)
            with contextlib.suppress(Conflict):  # taken already, and the answer was swallowed
                await engine.send_event("everything", "the-one", "approved", "yes")
            acks.note("sent")
        instance = await ended(engine, "everything", "the-one")
    return {"status": instance.status, "output": codec.decode(instance.output or b"null"), "seen": store.seen}


class Crossing:
    """The lives of one instance in a folder of its own."""

    def __init__(self, lives: Lives, folder: Path, *, lease_ms: int = 300_000) -> None:
        folder.mkdir()
        self.judge = Judge(folder)
        self.seen: dict[str, int] = {}
        self._lives = lives
        self._folder = folder
        self._lease_ms = lease_ms

    def start(self, **fault: Any) -> str | None:
        """Live until the fault; return the transaction that it was, or None when the instance came to its end."""
        if not self._live(1, fault).killed:
            return None
        assert self.judge.hear() == []
        self.judge.look()
        return (self._folder / GRAVE).read_text()

    def go_on(self) -> None:
        """Live a second time, without a fault, and check what must hold at the end."""
        last = self._live(2, {})
        self.seen = last.result["seen"]
        assert (last.result["status"], last.result["output"]) == ("complete", OUTPUT)
        assert last.lived_s < AT_ONCE_S
        assert self.judge.hear() == []
        assert self.judge.journal.integrity() == "ok"
        assert len(self.judge.journal.instances()) == 1

    def _live(self, life: int, fault: dict[str, Any]) -> Ended:
        return self._lives.run(cross, self._folder, life=life, fault=fault, lease_ms=self._lease_ms)


@pytest.fixture(scope="module")
def undisturbed(lives: Lives, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Return how many transactions of each kind a life has, whose end nobody disturbs."""
    crossing = Crossing(lives, tmp_path_factory.mktemp("undisturbed") / "1")
    crossing.go_on()
    assert crossing.judge.bodies == BODIES
    return crossing.seen


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", _KINDS)
def test_a_death_at_any_transaction_changes_neither_the_output_nor_what_is_settled(
    lives: Lives, folder: Path, undisturbed: dict[str, int], kind: str, side: str
) -> None:
    deaths = 0
    for number in range(1, undisturbed.get(kind, 0) + 1):
        crossing = Crossing(lives, folder / str(number))
        died_at = crossing.start(kind=kind, at=number, side=side)
        if died_at is None:
            continue  # two writes shared a transaction this time
        deaths += 1
        with told(f"died {side} {kind} number {number} ({died_at})"):
            crossing.go_on()
            assert crossing.judge.repeats <= _SEVERAL_AT_ONCE[side]
    assert deaths, f"no transaction has a {kind}"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", ["register", "renew", "giveBack"])
def test_a_death_around_a_lease_loses_nothing(lives: Lives, folder: Path, kind: str, side: str) -> None:
    crossing = Crossing(lives, folder / kind, lease_ms=30)
    assert crossing.start(kind=kind, side=side) == kind
    crossing.go_on()


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """Say in a failure where it was."""
    try:
        yield
    except AssertionError as error:
        error.add_note(where)
        raise
