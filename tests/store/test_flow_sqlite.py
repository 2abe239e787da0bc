"""Flow control in the embedded store's file: what a plain instance leaves there, and what a damaged file costs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hub.core.flow import Flow
from hub.core.model import Status
from tests.store.flowing import all_live, batch, claimed, created, debounce, emit, end, executing, limit, rate, seconds, singleton, standing
from tests.store.given import LEASE, World, at, entry, finish, opened, park, settle, world_in


@pytest.fixture
def database() -> str:
    """Run on SQLite only."""
    return "sqlite"


TABLES = ("gate", "lane", "bucket", "collection", "member")


def rows_in(path: Path) -> dict[str, int]:
    """Count the rows of flow control in a file that is open elsewhere."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def change(path: Path, *statements: str) -> None:
    """Damage a closed file."""
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            assert db.execute(statement).rowcount > 0, statement
        db.commit()


async def test_a_plain_instance_leaves_no_row_of_flow_control_in_all_its_life(path: Path) -> None:
    async with world_in(path) as world:
        key = await world.born()
        await world.verdicts(settle(key, entry()), park(key, at(5)))
        await claimed(world, 5)
        assert rows_in(path) == dict.fromkeys(TABLES, 0)
        await world.do(finish(key, token=2))

        assert rows_in(path) == dict.fromkeys(TABLES, 0)


async def test_what_has_ended_leaves_only_what_its_keys_must_remember_and_pruning_forgets_that_too(path: Path) -> None:
    flows = {
        "a": Flow(concurrency=(limit(1),), singleton=singleton("queue_all"), throttle=rate(), cancels=("c",), start_deadline=seconds(60)),
        "b": Flow(rate=rate(key="b"), batch=batch(wait=1)),
        "c": Flow(debounce=debounce("leading")),
    }
    async with world_in(path) as world:
        keys = {id: await created(world, id, flow, trigger="hook", dedupe_key=id) for id, flow in flows.items()}
        await claimed(world, 2)
        for key in keys.values():
            await end(world, key, 3)
        assert rows_in(path) == {"gate": 0, "lane": 0, "bucket": 3, "collection": 1, "member": 1}

        await world.store.prune(at(1000), 10)

        assert rows_in(path)["bucket"] == 0
        outcome = await emit(world, "d", flows["b"], 1001, trigger="hook", dedupe_key="d")
        assert outcome.instance is not None


async def test_gates_that_a_defect_left_behind_are_mended_when_the_file_is_opened(path: Path) -> None:
    flow = Flow(concurrency=(limit(2),), singleton=None)
    async with world_in(path) as world:
        keys = [await created(world, id, flow, node=world.node) for id in "abcdef"]
        await world.do(park(keys[0], at(10_000)))
        assert await claimed(world, 3) == ["c"]
        await end(world, keys[1], 4)
        assert await claimed(world, 4) == ["d"]
    change(
        path,
        f"UPDATE gate SET held = 1 WHERE rule = 'slot' AND instance = {keys[0]}",  # a sleeper that holds a place
        f"INSERT INTO gate (instance, rule, key, held) VALUES ({keys[1]}, 'slot', 'workflow/orders\n\"a\"', 1)",  # one that has ended
        "UPDATE gate SET held = NULL WHERE held = 1 AND instance = " + str(keys[3]),  # and one that executes without
    )

    async with opened(path) as store:
        world = World(store, await store.renew(None, LEASE * 1000, at(5)))
        assert sorted(await claimed(world, 5)) == ["c", "d"]
        for _ in range(4):
            for head in await all_live(world):
                if head.node is not None:
                    await world.do(finish(head.key, token=head.token, at=at(6)))
            await claimed(world, 6)

        assert (await executing(world), await standing(world)) == ([], [])
        assert [(head.id, head.status) for head in await all_live(world)] == [("a", Status.WAITING)]


async def test_whom_a_defect_forgot_to_wake_is_woken_when_the_file_is_opened(path: Path) -> None:
    flows = {
        "limit": Flow(concurrency=(limit(1),)),
        "turn": Flow(singleton=singleton("queue_all")),
        "evenly": Flow(throttle=rate(limit=1, period=1)),
    }
    async with world_in(path) as world:
        for name, flow in flows.items():
            first = await created(world, f"{name} 1", flow, node=world.node)
            await created(world, f"{name} 2", flow)
            await created(world, f"{name} 3", flow)
            await end(world, first, 1)
    change(path, "UPDATE instance SET wake_at = NULL WHERE ended_at IS NULL", "UPDATE gate SET held = NULL WHERE held = 1")

    async with opened(path) as store:
        world = World(store, await store.renew(None, LEASE * 1000, at(5)))
        seen = []
        for second in (5, 6, 7):
            taken = await claimed(world, second)
            assert len({id.split()[0] for id in taken}) == len(taken)
            seen += taken
            for head in await all_live(world):
                if head.node is not None:
                    await world.do(finish(head.key, token=head.token, at=at(second)))

        assert sorted(seen) == sorted(f"{name} {n}" for name in flows for n in (2, 3))
