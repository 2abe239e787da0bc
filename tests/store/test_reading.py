"""Conformance: lists, pages, counts."""

from __future__ import annotations

import pytest

from hub.core.errors import Rejected
from hub.core.model import InboxQuery, InstanceQuery, Status, VersionQuery, WorkflowQuery
from hub.core.writes import CreateInstance, Verb
from tests.store.given import ERROR, World, at, finish, new, send, steer


async def many(world: World, count: int) -> None:
    await world.store.apply([CreateInstance(new=new(f"i{n}", created_at=at(n))) for n in range(count)])


async def pages(world: World, **query: object) -> list[list[str]]:
    """Follow the cursors to the end."""
    found: list[list[str]] = []
    cursor: str | None = None
    while True:
        page = await world.store.find(InstanceQuery(cursor=cursor, **query))  # type: ignore[arg-type]  # any condition
        found.append([instance.id for instance in page.items])
        cursor = page.cursor
        if cursor is None:
            return found


async def test_an_empty_store_has_empty_lists(world: World) -> None:
    page = await world.store.find(InstanceQuery(total=True))

    assert (page.items, page.cursor, page.total) == ((), None, 0)
    assert await world.store.counts() == {}
    assert (await world.store.find(InboxQuery(instance=1))).items == ()
    assert (await world.store.find(VersionQuery(workflow="nowhere"))).items == ()


async def test_lists_are_newest_first(world: World) -> None:
    await many(world, 3)

    assert await world.ids() == ["i2", "i1", "i0"]
    assert await world.ids(ascending=True) == ["i0", "i1", "i2"]
    assert await world.ids(limit=1) == ["i2"]


@pytest.mark.parametrize(
    ("ascending", "expected"),
    [(False, [["i4", "i3"], ["i2", "i1"], ["i0"]]), (True, [["i0", "i1"], ["i2", "i3"], ["i4"]])],
)
async def test_cursors_lead_through_all_pages(world: World, ascending: bool, expected: list[list[str]]) -> None:
    await many(world, 5)

    assert await pages(world, limit=2, ascending=ascending) == expected


async def test_the_last_full_page_has_no_cursor(world: World) -> None:
    await many(world, 4)

    assert await pages(world, limit=2) == [["i3", "i2"], ["i1", "i0"]]


async def test_a_page_after_a_cursor_is_not_moved_by_new_and_deleted_instances(world: World) -> None:
    await many(world, 4)
    first = await world.store.find(InstanceQuery(limit=2))

    await world.create("newest", created_at=at(9))

    second = await world.store.find(InstanceQuery(limit=2, cursor=first.cursor))
    assert [instance.id for instance in second.items] == ["i1", "i0"]


async def test_offset_and_total_page_too(world: World) -> None:
    await many(world, 5)

    page = await world.store.find(InstanceQuery(limit=2, offset=3, total=True))

    assert ([instance.id for instance in page.items], page.total) == (["i1", "i0"], 5)
    assert (await world.store.find(InstanceQuery(limit=2, offset=9, total=True))).items == ()
    assert (await world.store.find(InstanceQuery(limit=2))).total is None


async def test_the_total_counts_all_pages_of_the_filter_not_those_after_the_cursor(world: World) -> None:
    await many(world, 5)
    first = await world.store.find(InstanceQuery(limit=2, total=True, created_from=at(1)))

    second = await world.store.find(InstanceQuery(limit=2, total=True, created_from=at(1), cursor=first.cursor))

    assert (first.total, second.total) == (4, 4)


@pytest.mark.parametrize("cursor", ["", "%%%", "bm90IGEgbnVtYmVy", "ünï", "MQ==x"])
async def test_a_cursor_that_is_none_is_rejected(world: World, cursor: str) -> None:
    with pytest.raises(Rejected, match="no cursor of this list"):
        await world.store.find(InstanceQuery(cursor=cursor))

    assert await world.ids() == []  # the store goes on reading


async def test_a_cursor_and_an_offset_exclude_each_other(world: World) -> None:
    await many(world, 2)
    page = await world.store.find(InstanceQuery(limit=1))

    with pytest.raises(Rejected, match="not both"):
        await world.store.find(InstanceQuery(cursor=page.cursor, offset=1))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"workflow": "orders"}, ["d", "c", "a"]),
        ({"workflow": "returns"}, ["b"]),
        ({"workflow": "nowhere"}, []),
        ({"id": "b"}, ["b"]),
        ({"id": "b", "workflow": "orders"}, []),
        ({"id": "a", "workflow": "orders"}, ["a"]),
        ({"statuses": frozenset({Status.COMPLETE})}, ["a"]),
        ({"statuses": frozenset({Status.COMPLETE, Status.PAUSED})}, ["c", "a"]),
        ({"created_from": at(2)}, ["d", "c"]),
        ({"created_to": at(2)}, ["c", "b", "a"]),
        ({"created_from": at(1), "created_to": at(2), "workflow": "orders"}, ["c"]),
    ],
)
async def test_conditions_hold_together(world: World, query: dict[str, object], expected: list[str]) -> None:
    await world.register("returns")
    await world.ended("a")
    await world.create("b", workflow="returns", created_at=at(1))
    await world.do(steer(await world.create("c", created_at=at(2)), Verb.PAUSE))
    await world.create("d", created_at=at(3))

    assert await world.ids(**query) == expected
    assert (await world.store.find(InstanceQuery(total=True, limit=1, **query))).total == len(expected)  # type: ignore[arg-type]


async def test_an_instance_is_found_by_its_key(world: World) -> None:
    await many(world, 3)
    (middle,) = (await world.store.find(InstanceQuery(id="i1"))).items

    assert (await world.store.find(InstanceQuery(key=middle.key))).items == (middle,)


async def test_heads_leave_the_large_columns_out(world: World) -> None:
    key = await world.born(params=b'{"large":1}')
    await world.do(finish(key, status=Status.ERRORED, output=b"7", error=ERROR))

    (head,) = (await world.store.find(InstanceQuery())).items
    (whole,) = (await world.store.find(InstanceQuery(heads=False))).items

    assert (head.params, head.output, head.error) == (b"null", None, None)
    assert (whole.params, whole.output, whole.error) == (b'{"large":1}', b"7", ERROR)
    assert whole == await world.head(key)
    assert head.key == key


async def test_counts_are_by_status(world: World) -> None:
    await many(world, 3)
    await world.register("returns")
    await world.do(finish(await world.born("b", workflow="returns")))
    await world.ended("a")
    await world.do(send(await world.born("b")))

    assert await world.store.counts() == {Status.QUEUED: 4, Status.COMPLETE: 2}


async def test_workflows_are_listed_newest_first_with_their_counts(world: World) -> None:
    await world.register("returns", when=at(1))
    await many(world, 2)
    await world.ended("a")

    page = await world.store.find(WorkflowQuery())

    assert [(workflow.name, workflow.counts) for workflow in page.items] == [
        ("returns", {}),
        ("orders", {Status.QUEUED: 2, Status.COMPLETE: 1}),
    ]
    assert page.total == 2
    returns = page.items[0]
    assert (returns.class_name, returns.script_name, returns.triggered_at) == ("Orders", "shop", None)
    assert (returns.created_at, returns.modified_at) == (at(1), at(1))


async def test_workflows_can_be_looked_up_without_counting(world: World) -> None:
    await many(world, 2)

    (workflow,) = (await world.store.find(WorkflowQuery(name="orders", counts=False))).items

    assert (workflow.name, workflow.counts) == ("orders", {})


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (WorkflowQuery(name="orders"), ["orders"]),
        (WorkflowQuery(name="order"), []),
        (WorkflowQuery(search="RE"), ["re_turns", "returns"]),
        (WorkflowQuery(search="e_t"), ["re_turns"]),
        (WorkflowQuery(search="%"), []),
        (WorkflowQuery(limit=1, offset=1), ["returns"]),
    ],
)
async def test_workflows_are_found_by_name_and_part_of_it(world: World, query: WorkflowQuery, names: list[str]) -> None:
    await world.register("returns")
    await world.register("re_turns")

    assert [workflow.name for workflow in (await world.store.find(query)).items] == names


async def test_versions_are_listed_newest_first(world: World) -> None:
    for number in range(2, 5):
        await world.register("orders", f"d{number}", when=at(0))

    async def ids(query: VersionQuery) -> tuple[list[str], int | None]:
        page = await world.store.find(query)
        return [version.id for version in page.items], page.total

    assert await ids(VersionQuery(workflow="orders")) == (["orders-d4", "orders-d3", "orders-d2", "orders-d1"], 4)
    assert await ids(VersionQuery(workflow="orders", limit=2, offset=1)) == (["orders-d3", "orders-d2"], 4)
    assert await ids(VersionQuery(workflow="orders", id="orders-d2")) == (["orders-d2"], 1)
    (version,) = (await world.store.find(VersionQuery(workflow="orders", id="orders-d2"))).items
    assert (version.workflow, version.class_name, version.digest, version.created_at) == ("orders", "Orders", "d2", at(0))
