"""Conformance: lines of logs are kept with the result of their attempt, and go with their instance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hub.core.errors import Rejected
from hub.core.logs import Logged, LogLine, LogQuery
from hub.core.model import Kind, State
from hub.core.writes import DeleteInstance, Restart, RestartPoint, Verdict
from tests.store.given import World, at, entry, fail, finish, settle


def logged(*messages: str, level: str = "info", instance_bytes: int = 10_000) -> Logged:
    return Logged(lines=tuple(LogLine(at=at(1), level=level, message=each) for each in messages), instance_bytes=instance_bytes)


async def lines(world: World, instance: int, **query: object) -> list[str]:
    page = await world.store.find(LogQuery(instance=instance, **query))  # type: ignore[arg-type]  # any condition
    return [each.line.message for each in page.items]


async def test_lines_come_back_as_they_were_logged(world: World) -> None:
    key = await world.born()
    line = LogLine(at=at(1.000_001), level="warning", message="ünï\n✗", logger="shop.cart")
    await world.do(replace(settle(key, entry(attempt=3)), logged=Logged(lines=(line,), instance_bytes=1000)))

    (found,) = (await world.store.find(LogQuery(instance=key))).items

    assert (found.kind, found.name, found.count, found.attempt, found.line) == (Kind.STEP, "charge", 1, 3, line)


async def test_lines_of_failed_attempts_come_before_those_of_the_last_one(world: World) -> None:
    key = await world.born()
    failed = fail(key)
    await world.do(replace(failed, entry=replace(failed.entry, attempt=1), logged=logged("first", "second")))
    await world.do(replace(settle(key, entry(attempt=2)), logged=logged("third")))

    assert await lines(world, key) == ["first", "second", "third"]
    assert await lines(world, key, attempt=1) == ["first", "second"]


async def test_lines_are_filtered_by_step_and_level(world: World) -> None:
    key = await world.born()
    await world.do(replace(settle(key, entry("charge", ordinal=1)), logged=logged("a", level="debug")))
    await world.do(replace(settle(key, entry("charge", count=2, ordinal=2)), logged=logged("b", level="error")))
    await world.do(replace(settle(key, entry("ship", ordinal=3)), logged=logged("c", level="warning")))

    assert await lines(world, key, step="charge") == ["a", "b"]
    assert await lines(world, key, step="charge-2") == ["b"]
    assert await lines(world, key, step="nowhere") == []
    assert await lines(world, key, level="warning") == ["b", "c"]


async def test_pages_lead_through_all_lines_and_on_to_later_ones(world: World) -> None:
    key = await world.born()
    await world.do(replace(settle(key, entry("a", ordinal=1)), logged=logged("1", "2", "3")))
    first = await world.store.find(LogQuery(instance=key, limit=2))
    second = await world.store.find(LogQuery(instance=key, limit=2, cursor=first.cursor))
    await world.do(replace(settle(key, entry("b", ordinal=2)), logged=logged("4")))
    later = await world.store.find(LogQuery(instance=key, cursor=second.items[-1].cursor))

    assert [[each.line.message for each in page.items] for page in (first, second, later)] == [["1", "2"], ["3"], ["4"]]
    assert second.cursor is None
    with pytest.raises(Rejected, match="no cursor of this list"):
        await world.store.find(LogQuery(instance=key, cursor="MQ"))


async def test_a_fenced_attempt_leaves_no_line(world: World) -> None:
    key = await world.born()

    outcome = await world.do(replace(settle(key, token=7), logged=logged("late")))

    assert outcome.verdict is Verdict.FENCED
    assert await lines(world, key) == []


async def test_an_instance_keeps_no_more_than_its_limit_and_says_so_once(world: World) -> None:
    key = await world.born()
    writes = [replace(settle(key, entry(f"s{n}", ordinal=n)), logged=logged("12345", "1234", instance_bytes=25)) for n in range(1, 5)]
    await world.store.apply(writes[:2])
    await world.store.apply(writes[2:])

    kept = await lines(world, key)
    assert kept == ["12345", "1234", "12345", "1234", "… what this instance logs after this is not kept (limits.log_instance_bytes)"]


async def test_a_restart_forgets_the_lines_of_what_it_forgets(world: World) -> None:
    key = await world.born()
    for number, name in enumerate(("a", "b", "c"), start=1):
        await world.do(replace(settle(key, entry(name, ordinal=number)), logged=logged(name)))
    undone = entry("b", kind=Kind.ROLLBACK, ordinal=4, state=State.DONE)
    await world.do(replace(settle(key, undone), logged=logged("undo b")))
    await world.do(finish(key))

    await world.do(Restart(instance=key, at=at(20), origin=RestartPoint(name="b")))
    assert await lines(world, key) == ["a"]
    await world.do(Restart(instance=key, at=at(21)))
    assert await lines(world, key) == []


async def test_lines_go_with_their_instance(world: World) -> None:
    key = await world.born()
    await world.do(replace(settle(key), logged=logged("a")))
    await world.do(DeleteInstance(instance=key))

    assert await lines(world, key) == []
