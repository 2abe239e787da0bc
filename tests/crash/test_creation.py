"""What was acknowledged exists after a death; what was not exists once or not at all, and sending it again makes it exist once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hub.core.delivery import TriggerEvent
from hub.core.errors import Conflict
from hub.core.ports import CreateRequest
from hub.engine.embedded import EmbeddedEngine

from .faults import AFTER, BEFORE, Fault, FaultyStore
from .forks import Lives, Stage
from .kills import Judge
from .node import ended, file_store, node
from .programs import Plain

ANSWERED = "answered"  # the process dies when the sender has its answer
_SIDES = (BEFORE, AFTER, ANSWERED)
_IDS: dict[str, list[str | None]] = {"one": ["a"], "event": [None], "batch": ["a", "b", "c"]}  # by door


async def _send(engine: EmbeddedEngine, door: str) -> dict[str, Any]:
    """Create what that door creates; return the ids that exist now, and those that had existed before."""
    if door == "event":
        receipt = await engine.emit("trigger", "plain", TriggerEvent(payload={"n": 1}, key="delivery-1"))
        return {"ids": [receipt.instance_id], "before": [receipt.instance_id] if receipt.status == "duplicate" else []}
    requests = [CreateRequest(workflow="plain", params={"n": 1}, id=id) for id in _IDS[door]]
    if door == "batch":
        batch = await engine.create_batch(requests)
        assert all(error.code == "instance.already_exists" for error in batch.errors)
        before = [error.id for error in batch.errors]
        return {"ids": [created.id for created in batch.created] + before, "before": before}
    try:
        return {"ids": [(await engine.create(requests[0])).id], "before": []}
    except Conflict:
        return {"ids": ["a"], "before": ["a"]}


async def send(stage: Stage) -> None:
    """Create, and die before the transaction, after it, or after the answer."""
    side = stage.task["side"]
    fault = Fault() if side == ANSWERED else Fault(kind="CreateInstance", side=side)
    store = FaultyStore(file_store(stage.folder), fault, stage.folder / "grave")
    async with node(stage.folder, {"plain": Plain}, store=store) as engine:
        await _send(engine, stage.task["door"])
        os.kill(os.getpid(), signal.SIGKILL)


async def send_again(stage: Stage) -> dict[str, Any]:
    """Create the same again, as a sender without an answer does; return what came of it when all have ended."""
    async with node(stage.folder, {"plain": Plain}) as engine:
        answer = await _send(engine, stage.task["door"])
        return {**answer, "statuses": [(await ended(engine, "plain", id)).status for id in answer["ids"]]}


@pytest.mark.parametrize("side", _SIDES)
@pytest.mark.parametrize("door", _IDS)
def test_a_creation_exists_once_whenever_the_process_dies(lives: Lives, folder: Path, door: str, side: str) -> None:
    judge = Judge(folder)
    assert lives.run(send, folder, door=door, side=side).killed
    on_disk = sorted(id for _, id in judge.journal.instances())
    assert len(on_disk) == (0 if side == BEFORE else len(_IDS[door]))
    judge.hear()
    judge.look()
    after = lives.run(send_again, folder, door=door).result
    assert sorted(after["before"]) == on_disk
    assert set(after["statuses"]) == {"complete"}
    assert sorted(after["ids"]) == sorted(id for _, id in judge.journal.instances())
    assert judge.hear() == []
