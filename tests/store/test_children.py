"""Conformance: an instance starts another one, and hears of its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from hub.core.errors import ErrorInfo
from hub.core.family import ChildEnd, inbox_type, read_end
from hub.core.model import InboxEvent, InstanceQuery, Parent, State, Status
from hub.core.writes import CreateInstance, DeleteInstance, DeleteWorkflow, Outcome, Restart, RestartPoint, SendEvent, Verb, Verdict
from hub.store import store_for
from tests.store.given import ERROR, LEASE, World, at, call, entry, finish, new, park, settle, start_child, steer

TERMINATED = ErrorInfo(name="Terminated", message="the child was terminated")
DELETED = ErrorInfo(name="Deleted", message="the child was deleted")


async def family(world: World) -> tuple[int, int]:
    """Return the keys of a claimed parent and of its child, claimed with token 1."""
    parent = await world.born("parent")
    await world.do(start_child(parent))
    (child,) = await world.store.claim(world.node, 1, at(2))
    return parent, child.instance.key


async def inbox(world: World, key: int) -> tuple[InboxEvent, ...]:
    return (await world.snapshot(key)).inbox


async def ends(world: World, key: int) -> list[ChildEnd]:
    return [read_end(event.payload) for event in await inbox(world, key)]


# ---- starting


async def test_a_child_is_created_together_with_the_entry_that_waits_for_it(world: World) -> None:
    parent = await world.born("parent")

    outcome = await world.do(start_child(parent))

    assert outcome == Outcome(verdict=Verdict.APPLIED, instance=parent, id="parent", status=Status.QUEUED)
    assert (await world.snapshot(parent)).entries == (call(),)
    (child,) = await world.store.claim(world.node, 9, at(2))
    assert child.instance.id == "child"
    assert child.instance.parent == Parent(key=parent, inbox_type=inbox_type("call", 1))


async def test_a_started_child_is_unclaimed_due_at_once_and_told(world: World) -> None:
    parent = await world.born("parent")
    signals = world.store.signals()

    await world.do(start_child(parent))

    assert await anext(signals) == 0
    assert await world.store.next_due(at(0)) == at(2)


async def test_a_lost_claim_starts_no_child(world: World) -> None:
    parent = await world.born("parent")

    assert await world.verdicts(start_child(parent, token=2)) == [Verdict.FENCED]

    assert await world.ids() == ["parent"]
    assert (await world.snapshot(parent)).entries == ()


async def test_a_deleted_parent_starts_no_child(world: World) -> None:
    parent = await world.born("parent")
    await world.do(DeleteInstance(instance=parent))

    assert await world.do(start_child(parent)) == Outcome(verdict=Verdict.MISSING, instance=parent)

    assert await world.ids() == []


async def test_a_taken_id_is_a_conflict_and_leaves_no_entry(world: World) -> None:
    parent = await world.born("parent")
    await world.create("child")

    outcome = await world.do(start_child(parent))

    assert (outcome.verdict, outcome.instance, outcome.id, outcome.status) == (Verdict.CONFLICT, parent, "parent", Status.QUEUED)
    assert "child" in (outcome.reason or "")
    assert (await world.snapshot(parent)).entries == ()
    assert (await world.head(parent + 1)).parent is None


async def test_two_children_of_one_id_in_one_group_are_one(world: World) -> None:
    parent = await world.born("parent")

    assert await world.verdicts(start_child(parent), start_child(parent, entry=call(name="again", ordinal=2))) == [
        Verdict.APPLIED,
        Verdict.CONFLICT,
    ]

    assert (await world.snapshot(parent)).entries == (call(),)


async def test_an_unknown_workflow_is_missing_with_a_reason_and_leaves_no_entry(world: World) -> None:
    parent = await world.born("parent")

    outcome = await world.do(start_child(parent, workflow="parcels"))

    assert (outcome.verdict, outcome.instance, outcome.id) == (Verdict.MISSING, parent, "parent")
    assert "parcels" in (outcome.reason or "")
    assert (await world.snapshot(parent)).entries == ()


async def test_a_poison_child_leaves_no_entry_and_does_not_harm_its_group(world: World) -> None:
    parent = await world.born("parent")

    assert await world.verdicts(start_child(parent, ""), settle(parent, entry("b"))) == [Verdict.POISON, Verdict.APPLIED]

    assert [kept.name for kept in (await world.snapshot(parent)).entries] == ["b"]
    assert await world.ids() == ["parent"]


async def test_children_are_found_by_their_parent(world: World) -> None:
    first, second = await world.born("first"), await world.born("second")
    await world.verdicts(
        start_child(first, "a"),
        start_child(second, "b", entry=call("b")),
        start_child(first, "c", entry=call("c", name="other", ordinal=2)),
    )

    assert await world.ids(parent=first) == ["c", "a"]
    assert await world.ids(parent=first, ascending=True, workflow="orders", statuses=frozenset({Status.QUEUED})) == ["a", "c"]
    assert await world.ids(parent=second) == ["b"]
    assert await world.ids(parent=first + 100) == []
    page = await world.store.find(InstanceQuery(parent=first, limit=1, total=True))
    assert page.total == 2
    assert (await world.store.find(InstanceQuery(parent=first, limit=1, cursor=page.cursor))).items[0].id == "a"


# ---- ending

ENDS: dict[str, tuple[Callable[[World, int], Awaitable[object]], ChildEnd]] = {
    "complete": (lambda world, key: world.do(finish(key)), ChildEnd(status=Status.COMPLETE, output=b'"done"')),
    "without output": (lambda world, key: world.do(finish(key, output=None)), ChildEnd(status=Status.COMPLETE, output=b"null")),
    "errored": (
        lambda world, key: world.do(finish(key, status=Status.ERRORED, output=None, error=ERROR)),
        ChildEnd(status=Status.ERRORED, error=replace(ERROR, message="no such file ✗ \\ud83d")),
    ),
    "rolled back": (
        lambda world, key: world.do(finish(key, status=Status.TERMINATED, output=None)),
        ChildEnd(status=Status.TERMINATED, error=TERMINATED),
    ),
    "terminated": (lambda world, key: world.do(steer(key, Verb.TERMINATE)), ChildEnd(status=Status.TERMINATED, error=TERMINATED)),
    "deleted": (lambda world, key: world.do(DeleteInstance(instance=key)), ChildEnd(status=Status.TERMINATED, error=DELETED)),
}


@pytest.mark.parametrize("how", ENDS)
async def test_the_end_of_a_child_comes_into_the_inbox_of_its_parent(world: World, how: str) -> None:
    parent, child = await family(world)
    do, told = ENDS[how]

    await do(world, child)

    (event,) = await inbox(world, parent)
    assert (event.seq, event.type, read_end(event.payload)) == (1, inbox_type("call", 1), told)
    assert (await world.head(parent)).inbox_seq == 1


@pytest.mark.parametrize("how", ENDS)
async def test_a_parent_that_waits_is_woken_and_told(world: World, how: str) -> None:
    parent, child = await family(world)
    await world.do(park(parent, None))
    assert await world.store.claim(world.node, 9, at(100)) == []
    signals = world.store.signals()

    await ENDS[how][0](world, child)

    told = {await anext(signals), await anext(signals)}
    if child in told:
        told = {*told, await anext(signals)} - {child}
    assert told == {parent, 0}
    (woken,) = await world.store.claim(world.node, 9, at(9))
    assert woken.instance.key == parent
    assert len(woken.inbox) == 1


async def test_the_end_of_a_child_is_dated(world: World) -> None:
    parent, child = await family(world)

    await world.do(finish(child))

    assert [event.sent_at for event in await inbox(world, parent)] == [at(9)]


async def test_a_deleted_child_is_dated_by_its_last_change(world: World) -> None:
    parent, child = await family(world)
    await world.do(park(child, at(60), at=at(5)))

    await world.do(DeleteInstance(instance=child))

    assert [event.sent_at for event in await inbox(world, parent)] == [at(5)]


async def test_a_child_that_ended_tells_nothing_when_it_is_deleted(world: World) -> None:
    parent, child = await family(world)
    await world.do(finish(child))

    await world.do(DeleteInstance(instance=child))

    assert [end.status for end in await ends(world, parent)] == [Status.COMPLETE]


async def test_a_refused_end_tells_nothing(world: World) -> None:
    parent, child = await family(world)

    await world.verdicts(finish(child, token=9), finish(child), steer(child, Verb.TERMINATE), finish(child))

    assert [end.status for end in await ends(world, parent)] == [Status.COMPLETE]


async def test_a_child_that_is_only_rolling_back_has_not_ended(world: World) -> None:
    parent, child = await family(world)

    await world.do(steer(child, Verb.TERMINATE, rollback=True))

    assert await inbox(world, parent) == ()


async def test_deleting_a_workflow_tells_parents_elsewhere_and_takes_those_in_it_along(world: World) -> None:
    await world.register("parcels")
    parent = await world.born("parent")
    inner = await world.born("inner", workflow="parcels")
    ended = call("ended", name="ended", ordinal=2, child="parcels/ended")
    await world.verdicts(
        start_child(parent, entry=call(child="parcels/child"), workflow="parcels"),
        start_child(parent, "ended", entry=ended, workflow="parcels"),
        start_child(inner, "of inner", entry=call("of inner", child="parcels/of inner"), workflow="parcels"),
    )
    await world.do(steer(parent + 3, Verb.TERMINATE))

    await world.do(DeleteWorkflow(name="parcels"))

    assert await world.ids() == ["parent"]
    assert [(event.type, read_end(event.payload).error) for event in await inbox(world, parent)] == [
        (inbox_type("ended", 1), TERMINATED),
        (inbox_type("call", 1), DELETED),
    ]
    assert (await world.store.load(inner)) is None


@pytest.mark.parametrize("gone", ["final", "deleted"])
async def test_a_parent_that_is_no_more_is_not_told(world: World, gone: str) -> None:
    parent, child = await family(world)
    await world.do(finish(parent) if gone == "final" else DeleteInstance(instance=parent))

    assert await world.verdicts(finish(child)) == [Verdict.APPLIED]

    if gone == "final":
        head = await world.head(parent)
        assert (head.status, head.inbox_seq, await inbox(world, parent)) == (Status.COMPLETE, 0, ())


async def test_a_paused_parent_hears_of_it_when_it_is_resumed(world: World) -> None:
    parent, child = await family(world)
    await world.verdicts(park(parent, None), steer(parent, Verb.PAUSE))

    await world.do(finish(child))

    assert (await world.head(parent)).status is Status.PAUSED
    assert await world.store.claim(world.node, 9, at(9)) == []
    await world.do(steer(parent, Verb.RESUME, at(10)))
    (claimed,) = await world.store.claim(world.node, 9, at(10))
    assert len(claimed.inbox) == 1


async def test_an_instance_without_parent_tells_nobody(world: World) -> None:
    await world.born("other")
    key = await world.born()

    await world.verdicts(finish(key))

    assert [snapshot.instance.inbox_seq for snapshot in await world.everything()] == [0, 0]


# ---- who still waits


async def test_a_parent_that_has_lost_patience_is_not_told(world: World) -> None:
    parent, child = await family(world)
    await world.do(settle(parent, call(state=State.FAILED, error=ERROR, ended_at=at(3))))

    await world.do(finish(child))

    assert await inbox(world, parent) == ()


async def test_a_parent_that_loses_patience_in_the_group_of_the_end_is_not_told(world: World) -> None:
    parent, child = await family(world)

    await world.verdicts(settle(parent, call(state=State.FAILED, error=ERROR, ended_at=at(3))), finish(child))

    assert await inbox(world, parent) == ()


@pytest.mark.parametrize("origin", [None, RestartPoint(name="call")])
async def test_the_child_of_a_forgotten_run_is_not_taken_for_that_of_the_next_run(world: World, origin: RestartPoint | None) -> None:
    parent, old = await family(world)
    await world.do(Restart(instance=parent, at=at(4), origin=origin))
    (again,) = await world.store.claim(world.node, 1, at(4))
    await world.do(start_child(parent, "new", token=again.instance.token))

    await world.do(finish(old))
    assert await inbox(world, parent) == ()

    (fresh,) = await world.store.claim(world.node, 1, at(5))
    await world.do(finish(fresh.instance.key, output=b'"fresh"'))
    assert await ends(world, parent) == [ChildEnd(status=Status.COMPLETE, output=b'"fresh"')]


async def test_a_child_that_is_restarted_after_its_end_tells_a_parent_that_no_longer_waits_nothing(world: World) -> None:
    parent, child = await family(world)
    await world.do(finish(child))
    await world.do(settle(parent, call(state=State.DONE, ended_at=at(10)), consumes=1))

    await world.verdicts(Restart(instance=child, at=at(11)), steer(child, Verb.TERMINATE))

    assert (await inbox(world, parent), (await world.head(parent)).inbox_seq) == ((), 1)


async def test_a_child_that_is_restarted_before_its_end_tells_once(world: World) -> None:
    parent, child = await family(world)

    await world.verdicts(Restart(instance=child, at=at(3)), finish(child), steer(child, Verb.TERMINATE))

    assert [end.status for end in await ends(world, parent)] == [Status.TERMINATED]


# ---- groups


@pytest.mark.parametrize("first", ["park", "finish"])
async def test_no_end_is_lost_when_the_parent_parks_in_the_same_group(world: World, first: str) -> None:
    parent, child = await family(world)
    writes = [park(parent, None), finish(child, at=at(3))]

    await world.verdicts(*(writes if first == "park" else reversed(writes)))

    assert await world.store.next_due(at(0)) == at(3)
    (woken,) = await world.store.claim(world.node, 9, at(3))
    assert (woken.instance.key, len(woken.inbox)) == (parent, 1)


async def test_a_later_write_of_the_group_sees_the_end(world: World) -> None:
    parent, child = await family(world)

    outcomes = await world.store.apply(
        [
            finish(child),
            SendEvent(instance=parent, type="ok", payload=b"1", at=at(9)),
            settle(parent, call(state=State.DONE), consumes=1),
            finish(parent),
        ]
    )

    assert {outcome.verdict for outcome in outcomes} == {Verdict.APPLIED}
    assert [(event.seq, event.type) for event in await inbox(world, parent)] == [(2, "ok")]
    assert (await world.head(parent)).status is Status.COMPLETE


async def test_an_end_after_the_end_of_the_parent_is_told_to_nobody(world: World) -> None:
    parent, child = await family(world)

    assert await world.verdicts(finish(parent), finish(child)) == [Verdict.APPLIED] * 2

    assert await inbox(world, parent) == ()


async def test_a_child_may_be_started_and_terminated_in_one_group(world: World) -> None:
    parent = await world.born("parent")

    verdicts = await world.verdicts(start_child(parent), steer(parent + 1, Verb.TERMINATE), park(parent, None))

    assert verdicts == [Verdict.APPLIED] * 3
    assert [end.status for end in await ends(world, parent)] == [Status.TERMINATED]
    assert await world.store.next_due(at(0)) == at(3)


async def test_many_children_tell_one_parent_each_once(world: World) -> None:
    parent = await world.born("parent")
    names = [f"c{number}" for number in range(50)]
    await world.verdicts(*(start_child(parent, name, entry=call(name, name=name, ordinal=n + 1)) for n, name in enumerate(names)))
    children = [snapshot.instance.key for snapshot in await world.store.claim(world.node, 99, at(2))]

    await asyncio.gather(*(world.store.apply([finish(key) for key in children[start::5]]) for start in range(5)))

    events = await inbox(world, parent)
    assert [event.seq for event in events] == list(range(1, 51))
    assert {event.type for event in events} == {inbox_type(name, 1) for name in names}


async def test_grandchildren_tell_their_own_parent(world: World) -> None:
    parent, child = await family(world)
    await world.do(start_child(child, "grandchild", entry=call("grandchild")))
    (grandchild,) = await world.store.claim(world.node, 1, at(3))

    await world.verdicts(finish(grandchild.instance.key, output=b'"low"'), finish(child, output=b'"high"'))

    assert await ends(world, parent) == [ChildEnd(status=Status.COMPLETE, output=b'"high"')]
    assert await ends(world, child) == [ChildEnd(status=Status.COMPLETE, output=b'"low"')]


# ---- durability


async def test_parent_child_and_end_survive_a_new_start(url: str) -> None:
    store = store_for(url)
    await store.open()
    world = World(store, await store.renew(None, LEASE, at(0)))
    await world.register("orders")
    parent, child = await family(world)
    await world.do(park(parent, None))
    await store.renew(world.node, timedelta(0), at(4))
    await store.close()

    again = store_for(url)
    await again.open()
    world = World(again, await again.renew(None, LEASE, at(5)))
    (orphan,) = await again.claim(world.node, 9, at(5))
    assert (orphan.instance.key, orphan.instance.parent) == (child, Parent(key=parent, inbox_type=inbox_type("call", 1)))
    await world.do(finish(child, token=orphan.instance.token))
    await again.close()

    last = store_for(url)
    await last.open()
    world = World(last, await last.renew(None, LEASE, at(9)))
    (woken,) = await last.claim(world.node, 9, at(9))
    assert woken.instance.key == parent
    assert [read_end(event.payload).output for event in woken.inbox] == [b'"done"']
    await last.close()


async def test_a_create_with_the_id_of_a_child_is_a_conflict(world: World) -> None:
    _, child = await family(world)

    outcome = await world.do(CreateInstance(new=new("child")))

    assert (outcome.verdict, outcome.instance) == (Verdict.CONFLICT, child)
