"""`create_batch` of a binding: its three forms, and an error for each item that is not created."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hub import WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.errors import PayloadTooLarge, Rejected
from hub.core.model import InstanceQuery, Retention, Status
from hub.engine.binding import WorkflowBinding, WorkflowInstance

from .conftest import Hub


async def opened(hub: Hub) -> WorkflowBinding:
    """Start a hub whose program returns its payload, and return the binding."""

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        return event.payload

    await hub.start(program=program)
    return WorkflowBinding(hub.engine, "program")


async def outputs(hub: Hub, made: list[WorkflowInstance]) -> list[Any]:
    ended = [await hub.ended(instance.id) for instance in made]
    assert {instance.status for instance in ended} == {Status.COMPLETE}
    return [codec.decode(instance.output or b"") for instance in ended]


async def nothing_was_created(hub: Hub) -> bool:
    return (await hub.engine.find(InstanceQuery())).items == ()


async def test_instances_of_a_batch_are_created_in_order_and_the_others_have_an_error_each(hub: Hub) -> None:
    binding = await opened(hub)
    await binding.create(id="taken")
    answer = await binding.create_batch(
        instances=[{"id": "a", "params": 1}, {"id": "taken"}, {"params": 2}, {"id": "a"}, {"id": "taken"}, {"id": "b", "params": 3}]
    )
    assert await outputs(hub, answer["created"]) == [1, 2, 3]
    assert [instance.id for instance in answer["created"]][::2] == ["a", "b"]
    assert [(error["index"], error["id"], error["code"]) for error in answer["errors"]] == [
        (1, "taken", "instance.already_exists"),
        (3, "a", "instance.duplicate_in_batch"),
        (4, "taken", "instance.duplicate_in_batch"),
    ]
    assert '"taken"' in answer["errors"][0]["message"]


@pytest.mark.parametrize("count", [1, 100])
async def test_a_batch_can_be_a_number_of_equal_instances(hub: Hub, count: int) -> None:
    binding = await opened(hub)
    answer = await binding.create_batch({"count": count, "params": {"n": 1}, "retention": {"successRetention": "1 day"}})
    assert answer["errors"] == []
    assert await outputs(hub, answer["created"]) == [{"n": 1}] * count
    assert len({instance.id for instance in answer["created"]}) == count
    assert (await hub.ended(answer["created"][0].id)).retention == Retention(success=timedelta(days=1))


async def test_a_plain_list_leaves_out_what_exists_already_so_that_it_can_be_repeated(hub: Hub) -> None:
    binding = await opened(hub)
    items = [{"id": "a"}, {"id": "b"}, {"id": "a"}]
    assert [instance.id for instance in await binding.create_batch(items)] == ["a", "b"]
    assert await binding.create_batch(items) == []


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ([], "1 to 100 instances"),
        ([{}] * 101, "1 to 100 instances"),
        ({"instances": []}, "1 to 100 instances"),
        ({"instances": [{}] * 101}, "1 to 100 instances"),
        ({"instances": {"id": "a"}}, "instances: expected a list"),
        ({"instances": ["a"]}, r"instances\[0\]: expected an object"),
        (["a"], r"instances\[0\]: expected an object"),
        ("ab", "create_batch takes"),
        ({}, "create_batch takes"),
        (None, "create_batch takes"),
        ({"count": 1, "instances": [{}]}, '"count" and "instances" exclude each other'),
        ({"count": 0}, "count: expected a whole number from 1 to 100"),
        ({"count": 101}, "count: expected a whole number from 1 to 100"),
        ({"count": True}, "count: expected a whole number from 1 to 100"),
        ({"count": "3"}, "count: expected a whole number from 1 to 100"),
        ({"count": 2, "id": "a"}, '"id"'),
        ({"instances": [{}], "params": 1}, '"params"'),
        ({"instances": [{}, {"ids": "a"}]}, r'instances\[1\]: .*"ids"'),
    ],
)
async def test_a_wrong_batch_is_refused_with_what_is_wrong(hub: Hub, batch: Any, told: str) -> None:
    binding = await opened(hub)
    with pytest.raises(Rejected, match=told):
        await binding.create_batch(batch)
    assert await nothing_was_created(hub)


@pytest.mark.parametrize(
    "bad", [{"id": "no good"}, {"params": "x" * (1 << 20)}, {"params": object()}, {"retention": {"successRetention": 0}}]
)
@pytest.mark.parametrize("listed", [True, False])
async def test_one_bad_item_fails_the_whole_batch_before_anything_is_created(hub: Hub, bad: dict[str, Any], listed: bool) -> None:
    binding = await opened(hub)
    items = [{"id": "good"}, bad, {"id": "better"}]
    with pytest.raises(Rejected) as caught:
        await binding.create_batch(items if listed else {"instances": items})
    assert isinstance(caught.value, PayloadTooLarge) == isinstance(bad.get("params"), str)
    assert await nothing_was_created(hub)


async def test_a_hint_of_a_place_is_taken_and_means_nothing_here(hub: Hub) -> None:
    binding = await opened(hub)
    await binding.create({"id": "a", "locationHint": "weur"})
    answer = await binding.create_batch({"count": 1, "locationHint": "weur"})
    assert (len(answer["created"]), answer["errors"]) == (1, [])
