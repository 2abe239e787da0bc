"""Flow control over kills: limits hold at every moment, no event of a batch is lost or doubled, nobody waits for a dead one for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hub.core.delivery import TriggerEvent
from hub.core.model import FINAL

from .faults import SIDES, Fault, FaultyStore
from .flows import PLACES, PROGRAMS, RULES, USERS, Campaign
from .forks import Lives, Stage
from .journal import Journal
from .kills import SEED, chosen_seed
from .ledger import Ledger
from .node import file_store, node, until

KILLS = 25
GRAVE = "grave"
_EACH = 3  # events of each trigger and key


def test_random_kills_break_no_limit_lose_no_event_and_leave_nobody_waiting(lives: Lives, folder: Path) -> None:
    seed = chosen_seed()

    report = Campaign(lives, folder, seed).run(KILLS)

    print(report)
    assert report.faults == [], f"to repeat: {SEED}={seed}"
    assert report.kills == KILLS
    assert report.taken > KILLS
    assert report.samples > report.taken / 4
    assert report.standing > 0
    assert report.held > 0


async def cross(stage: Stage) -> dict[str, Any]:
    """Emit the same events in every life and wait for all ends, or die on the way."""
    store = FaultyStore(file_store(stage.folder), Fault(**stage.task["fault"]), stage.folder / GRAVE)

    async def all_ended() -> bool:
        return all(status in FINAL for status in await store.counts())

    with closing(Ledger(stage.folder / PLACES)) as places:
        async with node(stage.folder, PROGRAMS, rules=RULES, store=store, PLACES=places, LIFE=stage.task["life"]) as engine:

            async def emit(kind: str, user: str, n: int) -> None:
                await engine.emit(kind, kind, TriggerEvent(payload={"n": n, "user": user}, key=f"{user}{n}"))

            async with asyncio.TaskGroup() as tasks:
                for kind in PROGRAMS:
                    for user in USERS:
                        for n in range(_EACH):
                            tasks.create_task(emit(kind, user, n))
            await until(all_ended)
    return {"seen": store.seen}


@pytest.fixture(scope="module")
def undisturbed(lives: Lives, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Return how many transactions of each kind there are when nobody dies."""
    folder = tmp_path_factory.mktemp("undisturbed")
    seen: dict[str, int] = lives.run(cross, folder, life=1, fault={}).result["seen"]
    return seen


def _moments(seen: dict[str, int], kind: str) -> Iterator[int]:
    """Return the first, a middle and the last transaction of a kind; with another timing there may be some less of them."""
    yield from sorted({1, (1 + seen[kind]) // 2, max(1, seen[kind] * 3 // 4)})


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", ["CreateInstance", "claim", "Park", "Finish"])
def test_a_death_at_any_transaction_gives_every_place_to_somebody(
    lives: Lives, folder: Path, undisturbed: dict[str, int], kind: str, side: str
) -> None:
    for at in _moments(undisturbed, kind):
        place = folder / f"{at}"
        place.mkdir()
        died = lives.run(cross, place, life=1, fault={"kind": kind, "at": at, "side": side})

        lives.run(cross, place, life=2, fault={})

        journal = Journal(place)
        assert died.killed or kind != "CreateInstance"
        assert journal.integrity() == "ok"
        assert {row.status for row in journal.instances().values()} == {"complete"}
