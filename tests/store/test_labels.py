"""Conformance: labels and the filters of lists, and that none of them reads more than it must."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from hub.core.labels import Labels, read_labels
from hub.core.model import Instance, InstanceQuery, Status
from hub.core.ports import Store
from hub.core.writes import CreateInstance, DeleteInstance, DeleteWorkflow, Restart, Verb
from hub.store import instance_lists, store_for
from hub.store.instance_lists import find_instances
from hub.store.sqlite_driver import read
from hub.store.totals import Totals
from tests.databases import empty_database
from tests.store.given import LEASE, World, at, finish, new, steer


def carrying(*tags: str, **metadata: Any) -> Labels:
    return read_labels(list(tags), metadata)


async def test_labels_are_kept_with_their_instance(world: World) -> None:
    labels = carrying("urgent", "eu", customer="4711", total=12.5, paid=True)
    key = await world.create(labels=labels)

    assert (await world.head(key)).labels == labels
    assert [each.labels for each in (await world.store.find(InstanceQuery(workflow="orders"))).items] == [labels]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (carrying("eu"), ["c", "a"]),
        (carrying("eu", "urgent"), ["c"]),
        (carrying("asia"), []),
        (carrying(customer=1), ["b", "a"]),
        (carrying(customer="1"), ["b", "a"]),
        (carrying("eu", customer=1), ["a"]),
        (carrying("customer"), []),
        (carrying(eu="1"), []),
    ],
)
async def test_instances_are_found_by_all_the_labels_that_are_asked_for(world: World, labels: Labels, expected: list[str]) -> None:
    await world.register("returns")
    await world.create("a", created_at=at(1), labels=carrying("eu", customer=1))
    await world.create("b", created_at=at(2), labels=carrying(customer="1"))
    await world.create("c", created_at=at(3), labels=carrying("urgent", "eu", customer=2))
    await world.create("d", created_at=at(4))
    await world.create("e", created_at=at(5), workflow="returns", labels=carrying("eu", "urgent", customer=1))

    assert await world.ids(workflow="orders", labels=labels) == expected
    assert await world.ids(workflow="orders", labels=labels, ascending=True) == expected[::-1]


async def test_a_restart_keeps_the_labels(world: World) -> None:
    key = await world.born(labels=carrying("eu"))
    await world.do(finish(key))
    await world.do(Restart(instance=key, at=at(20)))

    assert await world.ids(workflow="orders", labels=carrying("eu"), statuses=frozenset({Status.QUEUED})) == ["one"]


async def test_nothing_is_found_by_the_labels_of_what_is_gone(world: World) -> None:
    key = await world.create(labels=carrying("eu"))
    await world.do(DeleteInstance(instance=key))
    assert await world.ids(workflow="orders", labels=carrying("eu")) == []

    await world.create(labels=carrying("eu"))
    await world.do(DeleteWorkflow(name="orders"))
    await world.register("orders", digest="d2")
    assert await world.ids(workflow="orders", labels=carrying("eu")) == []


async def test_lists_are_in_the_order_of_creation_whatever_the_order_of_arrival(world: World) -> None:
    for id, second in (("c", 3), ("a", 1), ("b", 2)):
        await world.create(id, created_at=at(second))

    assert await world.ids(workflow="orders") == ["c", "b", "a"]
    assert await world.ids() == ["c", "b", "a"]


@pytest.mark.parametrize("many", [instance_lists.MANY, 20])
async def test_every_filter_finds_what_a_look_at_each_instance_finds(world: World, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    """A list of a few hundred instances by every mix of conditions, page by page, against the plain rule; also where those are many."""
    monkeypatch.setattr(instance_lists, "MANY", many)
    chance = random.Random(5)
    await world.register("returns")
    nodes = [chance.choice([world.node, None]) for _ in range(300)]
    writes = [CreateInstance(new=_any_instance(chance, number), node=node) for number, node in enumerate(nodes)]
    outcomes = await world.store.apply(writes)
    for write, outcome in zip(writes, outcomes, strict=True):
        if outcome.instance is not None and chance.random() < 0.4:
            if write.node is not None:
                await world.do(finish(outcome.instance, at=at(chance.randrange(400, 500))))
            else:
                await world.do(steer(outcome.instance, chance.choice([Verb.PAUSE, Verb.TERMINATE]), at(chance.randrange(400, 500))))
    everyone = (await world.store.find(InstanceQuery(limit=1000, ascending=True))).items
    assert len(everyone) == 300

    for _ in range(300):
        query = _any_query(chance)
        expected = sorted((each for each in everyone if _matches(each, query)), key=lambda each: (each.created_at, each.key))
        found = await _all_pages(world.store, query)
        assert [each.id for each in found] == [each.id for each in (expected if query["ascending"] else expected[::-1])], query
        assert (await world.store.find(InstanceQuery(limit=1, total=True, **query))).total == len(expected)


def _any_instance(chance: random.Random, number: int) -> Any:
    return new(
        f"i{number}",
        workflow=chance.choice(["orders", "orders", "returns"]),
        created_at=at(chance.randrange(100)),
        trigger=chance.choice([None, "hook", "rare"]),
        version=chance.choice(["v1", "v2"]),
        labels=chance.choice([carrying(), carrying("a"), carrying("a", "b"), carrying(k=1), carrying("b", k="1", other=2)]),
    )


def _any_query(chance: random.Random) -> dict[str, Any]:
    wanted: dict[str, Any] = {"workflow": chance.choice(["orders", "returns"]), "ascending": chance.random() < 0.5}
    optional: dict[str, Any] = {
        "statuses": frozenset(chance.sample(sorted(Status), chance.randrange(1, 4))),
        "trigger": chance.choice(["hook", "rare", "none"]),
        "version": chance.choice(["v1", "v3"]),
        "labels": chance.choice([carrying("a"), carrying("a", "b"), carrying(k=1), carrying("nobody")]),
        "created_from": at(chance.randrange(100)),
        "created_to": at(chance.randrange(100)),
        "modified_from": at(chance.randrange(500)),
        "ended_to": at(chance.randrange(400, 500)),
        "ended_from": at(chance.randrange(400, 500)),
        "modified_to": at(chance.randrange(500)),
    }
    return wanted | {name: value for name, value in optional.items() if chance.random() < 0.25}


def _matches(each: Instance, query: dict[str, Any]) -> bool:
    wanted = query.get("labels")
    times = {"created": each.created_at, "modified": each.modified_at, "ended": each.ended_at}
    within = all(_within(moment, query.get(f"{name}_from"), query.get(f"{name}_to")) for name, moment in times.items())
    return (
        within
        and each.workflow == query["workflow"]
        and each.status in query.get("statuses", set(Status))
        and query.get("trigger", each.trigger) == each.trigger
        and query.get("version", each.version) == each.version
        and (wanted is None or set(wanted.filed()) <= set(each.labels.filed()))
    )


def _within(moment: Any, first: Any, last: Any) -> bool:
    if moment is None:
        return first is None and last is None
    return (first is None or first <= moment) and (last is None or moment <= last)


async def _all_pages(store: Store, query: dict[str, Any]) -> list[Instance]:
    found: list[Instance] = []
    cursor: str | None = None
    while True:
        page = await store.find(InstanceQuery(limit=7, cursor=cursor, **query))
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


# ---- that nothing is read that is not needed: SQLite only


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize(
    "query",
    [
        {},
        {"statuses": frozenset({Status.COMPLETE})},
        {"statuses": frozenset({Status.COMPLETE, Status.QUEUED, Status.PAUSED})},
        {"created_from": at(10), "created_to": at(20)},
        {"labels": carrying("rare")},
        {"trigger": "rare"},
        {"trigger": "rare", "statuses": frozenset({Status.COMPLETE, Status.QUEUED})},
        {"version": "old"},
        {"ended_from": at(10), "ended_to": at(20)},
        {"modified_to": at(20)},
        {"workflow": "returns"},
    ],
)
async def test_a_page_costs_what_it_holds(tmp_path: Path, query: dict[str, Any], ascending: bool) -> None:
    """Time depends on the machine; the steps of SQLite's virtual machine do not, and so few pass by a few hundred instances at most."""
    wanted = InstanceQuery(**{"workflow": "orders", "limit": 20, "ascending": ascending, **query})

    assert await _steps(tmp_path, wanted) < 4_000


async def _steps(tmp_path: Path, query: InstanceQuery) -> int:
    """Count the steps that finding a page takes among 5,000 instances."""
    path = empty_database(tmp_path / "many.sqlite")
    store = store_for(f"sqlite:///{path}")
    await store.open()
    world = World(store, await store.renew(None, LEASE, at(0)))
    await world.register("orders")
    await world.register("returns")
    for start in range(0, 5_000, 500):
        await store.apply([CreateInstance(new=_of_many(number)) for number in range(start, start + 500)])
    await store.close()
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with contextlib.closing(sqlite3.connect(path)) as db:
        db.set_progress_handler(count, 1)
        assert read(db, find_instances(query, Totals())) is not None
    return steps


def _of_many(number: int) -> Any:
    return new(
        f"i{number}",
        workflow="returns" if number < 3 else "orders",
        created_at=at(number),
        trigger="rare" if number % 1000 == 7 else "hook",
        version="old" if number < 100 else "new",
        labels=carrying("all", "rare") if number % 1000 == 7 else carrying("all"),
    )
