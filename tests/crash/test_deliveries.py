"""A process dies around holding, releasing, refusing and replaying: nothing that was answered is lost, and nothing happens twice."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hub.core.delivery import DeliveryQuery, DeliveryStatus, TriggerEvent
from hub.core.errors import Conflict, Rejected
from hub.core.ports import TriggerContext
from hub.engine.context import TriggerSpec
from hub.engine.desk import TriggerDesk
from hub.engine.embedded import EmbeddedEngine
from hub.engine.expressions import Expression
from hub.engine.hosting import Hosting
from hub.engine.rules import Rules

from .faults import AFTER, BEFORE, SIDES, Fault, FaultyStore
from .forks import Lives, Stage
from .journal import DATABASE
from .ledger import Ledger, Reader
from .node import ACKS, file_store, node, until
from .programs import Plain

EVENTS = 12  # even ones have a key at their source
ANSWERED = "answered"
PROGRAMS = {"plain": Plain}
BAD = {"n": "no number"}


class Source:
    """A trigger that emits what it is told to."""

    Config: ClassVar[type] = dict
    ctx: TriggerContext

    async def start(self, ctx: TriggerContext) -> None:
        self.ctx = ctx

    async def stop(self) -> None:
        """Nothing runs."""


@contextlib.asynccontextmanager
async def hosted(stage: Stage, fault: Fault, **fields: Any) -> AsyncIterator[tuple[EmbeddedEngine, TriggerContext, TriggerDesk]]:
    """Run a node with one trigger, `hook`, until it dies."""
    store = FaultyStore(file_store(stage.folder), fault, stage.folder / "grave")
    async with node(stage.folder, PROGRAMS, store=store, **fields) as engine:
        source, services = Source(), engine.services("local")
        hosting = Hosting([TriggerSpec("hook", "plain", source)], services)
        await hosting.start()
        try:
            yield engine, source.ctx, TriggerDesk(hosting, services)
        finally:
            await hosting.stop()


def event(number: int) -> TriggerEvent:
    return TriggerEvent(payload={"n": number}, key=None if number % 2 else f"k-{number}")


def rows(folder: Path, text: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db:
        return db.execute(text).fetchall()


# ---- holding and releasing


async def hold_and_release(stage: Stage) -> None:
    """Pause, receive everything that a sender has no answer for yet, resume, and return when nothing is held any more."""
    said = list(Reader(stage.folder / ACKS).news())
    answered = {int(line[1]) for line in said if line[0] == "acked"}
    acks = Ledger(stage.folder / ACKS)
    async with hosted(stage, Fault(**stage.task["fault"])) as (engine, ctx, desk):
        if not any(line[0] == "resumed" for line in said):
            await desk.pause("hook")
            for number in range(EVENTS):
                if number not in answered:
                    acks.note("tried", number)
                    await ctx.emit(event(number))
                    acks.note("acked", number)
            await desk.resume("hook")
            acks.note("resumed")

        async def released() -> bool:
            return not await engine.ledger.held("hook", 1)

        await until(released)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("kind", "at"),
    [("KeepDelivery", 1), ("KeepDelivery", 2), ("KeepDelivery", EVENTS), ("SteerTrigger", 1), ("SteerTrigger", 2), ("CreateInstance", 1)],
)
def test_what_is_held_is_released_once_whenever_the_process_dies(lives: Lives, folder: Path, kind: str, at: int, side: str) -> None:
    assert lives.run(hold_and_release, folder, fault={"kind": kind, "at": at, "side": side}).killed
    lives.run(hold_and_release, folder, fault={})

    tried = Counter(int(line[1]) for line in Reader(folder / ACKS).news() if line[0] == "tried")
    created = [number for (number,) in rows(folder, "SELECT json_extract(params, '$.n') FROM instance ORDER BY key")]
    counts = Counter(created)
    for number in range(EVENTS):
        most = tried[number] if event(number).key is None else 1  # without a key, what is sent twice is two events
        assert 1 <= counts[number] <= most, f"event {number}: {counts[number]} instances"
    stored = rows(folder, "SELECT status, instance_id, json_extract(event, '$.payload.n') FROM delivery ORDER BY key")
    by_id = dict(rows(folder, "SELECT id, json_extract(params, '$.n') FROM instance"))
    assert [(status, by_id[id]) for status, id, _ in stored] == [("replayed", number) for *_, number in stored]
    if at == EVENTS or kind != "KeepDelivery":
        assert created == sorted(created)  # everything was held in one life, or none of the rest has overtaken it


async def release_many(stage: Stage) -> None:
    """Hold more than are released together, and die in the middle of the release."""
    async with hosted(stage, Fault(**stage.task["fault"])) as (engine, ctx, desk):
        if stage.task["fault"]:
            await desk.pause("hook")
            for number in range(250):
                await ctx.emit(TriggerEvent(payload={"n": number}))
            await desk.resume("hook")

        async def released() -> bool:
            return not await engine.ledger.held("hook", 1)

        await until(released)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_release_goes_on_where_it_was(lives: Lives, folder: Path, at: int, side: str) -> None:
    assert lives.run(release_many, folder, fault={"kind": "CreateInstance", "at": at, "side": side}).killed
    lives.run(release_many, folder, fault={})

    assert rows(folder, "SELECT json_extract(params, '$.n') FROM instance ORDER BY key") == [(number,) for number in range(250)]


# ---- refusing


RULES = {"hook": Rules(key=Expression.compile("payload.id"), map=Expression.compile("join('', payload.list)"))}


async def refuse(stage: Stage) -> None:
    """Receive what is refused, die around its account or after the answer."""
    side = stage.task["side"]
    fault = Fault(kind="KeepDelivery", side=side) if side in SIDES else Fault()
    async with hosted(stage, fault, rules=RULES) as (_, ctx, _):
        with contextlib.suppress(Rejected):
            await ctx.emit(TriggerEvent(payload=BAD, key="k"))
        if side:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("side", [BEFORE, AFTER, ANSWERED])
def test_a_refusal_that_was_told_is_stored_and_a_repeated_one_is_stored_once(lives: Lives, folder: Path, side: str) -> None:
    assert lives.run(refuse, folder, side=side).killed
    assert rows(folder, "SELECT count(*) FROM delivery") == [(0 if side == BEFORE else 1,)]

    lives.run(refuse, folder, side="")

    assert rows(folder, "SELECT status, code, event_key FROM delivery") == [("rejected", "map.invalid", "k")]


# ---- replaying


async def replay(stage: Stage) -> dict[str, Any]:
    """Store a refused delivery, if none is there, and replay it without the rule that has refused it."""
    side = stage.task["side"]
    fault = Fault(kind="CreateInstance", side=side) if side in SIDES else Fault()
    rules = dict(RULES)
    async with hosted(stage, fault, rules=rules) as (engine, ctx, desk):
        found = await engine.ledger.deliveries(DeliveryQuery())
        if not found.items:
            with contextlib.suppress(Rejected):
                await ctx.emit(TriggerEvent(payload=BAD, key="k"))
            found = await engine.ledger.deliveries(DeliveryQuery())
        (refused,) = found.items
        rules.clear()
        answer = "created"
        try:
            await desk.replay(refused.id)
        except Conflict:
            answer = "conflict"
        if side:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"answer": answer, "status": (await engine.ledger.delivery(refused.id)).status}


@pytest.mark.parametrize("side", [BEFORE, AFTER, ANSWERED])
def test_a_replay_creates_one_instance_whenever_the_process_dies(lives: Lives, folder: Path, side: str) -> None:
    assert lives.run(replay, folder, side=side).killed
    again = lives.run(replay, folder, side="").result

    assert again == {"answer": "created" if side == BEFORE else "conflict", "status": DeliveryStatus.REPLAYED}
    ids: Sequence[tuple[Any, ...]] = rows(folder, "SELECT id FROM instance")
    assert rows(folder, "SELECT instance_id FROM delivery") == ids
    assert len(ids) == 1
