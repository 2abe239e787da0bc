"""Conformance: what is known of nodes, and claims that are for some workflows only."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import timedelta

from hub.core.nodes import NodeAbout, NodeQuery, NodeRecord, Role
from hub.core.ports import Store
from hub.core.writes import Begin
from hub.store.schema import OURS
from tests.databases import execute
from tests.store.given import LEASE, World, at

ABOUT = NodeAbout(
    host="box-a", pid=42, version="1.2", url="http://box-a:8787", roles=(Role.RUN,), workflows=("orders", "slow"), slots=7
)  # fmt: skip


async def nodes(store: Store, when: float) -> list[NodeRecord]:
    return [*(await store.find(NodeQuery(now=at(when)))).items]


async def test_a_node_is_known_by_what_it_says_of_itself(world: World) -> None:
    number = await world.store.renew(None, LEASE, at(0), ABOUT)

    (record,) = (await world.store.find(NodeQuery(now=at(0), key=number))).items

    assert (record.key, record.about, record.instances) == (number, replace(ABOUT, schema=OURS.number), 0)
    assert [each.key for each in await nodes(world.store, 0)] == [world.node, number]
    assert (await world.store.find(NodeQuery(now=at(0), key=number + 1))).items == ()


async def test_a_node_that_was_forgotten_says_of_itself_the_same_again(world: World) -> None:
    number = await world.store.renew(world.node + 40, LEASE, at(0), replace(ABOUT, pid=43))

    (record,) = (await world.store.find(NodeQuery(now=at(0), key=number))).items
    assert record.about.pid == 43


async def test_what_a_node_of_a_newer_version_says_beyond_what_is_known_here_is_left_out(world: World, url: str) -> None:
    number = await world.store.renew(None, LEASE, at(0), ABOUT)
    more = json.dumps({**asdict(ABOUT), "roles": ["run", "think"], "mood": "calm"})
    await execute(url, f"UPDATE node SET info = '{more}' WHERE key = {number}")

    assert (await nodes(world.store, 0))[-1].about == ABOUT


async def test_a_node_that_has_given_its_lease_back_has_none_and_is_not_alive(world: World) -> None:
    number = await world.store.renew(None, LEASE, at(0), ABOUT)
    assert [each.alive for each in await nodes(world.store, 1)] == [True, True]

    await world.store.renew(number, timedelta(0), at(1), ABOUT)

    *_, gone = await nodes(world.store, 1)
    assert (gone.key, gone.alive, gone.lease_until) == (number, False, None)


async def test_the_load_of_a_node_is_what_it_has_claimed_and_not_ended(world: World) -> None:
    await world.ended("over")
    await world.born("one")
    await world.born("two")
    await world.create("unclaimed")

    (record,) = await nodes(world.store, 0)

    assert record.instances == 2


async def test_a_claim_takes_due_instances_of_the_named_workflows_only(world: World) -> None:
    await world.register("slow")
    for id, workflow in (("a", "slow"), ("b", "orders"), ("c", "slow"), ("d", "orders")):
        await world.create(id, workflow=workflow)

    async def claimed(*workflows: str) -> list[str]:
        return [each.instance.id for each in await world.store.claim(world.node, 9, at(1), workflows)]

    assert await claimed() == []
    assert await claimed("unknown") == []
    assert await claimed("orders") == ["b", "d"]
    assert await claimed("orders", "slow") == ["a", "c"]


async def test_instances_of_a_dead_node_are_left_to_one_that_knows_their_workflow(world: World) -> None:
    await world.register("slow")
    key = await world.born("a", workflow="slow")
    await world.do(Begin(instance=key, token=1, at=at(1)))
    other = await world.store.renew(None, LEASE, at(11))

    assert await world.store.claim(other, 9, at(12), ["orders"]) == []
    (taken,) = await world.store.claim(other, 9, at(12), ["slow", "orders"])

    assert (taken.instance.key, taken.instance.node, taken.instance.recoveries) == (key, other, 1)


async def test_next_due_heeds_only_the_named_workflows(world: World) -> None:
    await world.register("slow")
    await world.create("a", workflow="slow", start_at=at(20))
    await world.create("b", start_at=at(50))

    assert await world.store.next_due(at(0)) == at(20)
    assert await world.store.next_due(at(0), ["orders"]) == at(50)
    assert await world.store.next_due(at(60), ["slow"]) == at(60)
    assert await world.store.next_due(at(0), ["unknown"]) is None
    assert await world.store.next_due(at(0), []) is None
