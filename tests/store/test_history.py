"""Conformance: what happened to an instance, in order, for whoever asks for what is newer than what it has seen."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from hub.core.history import HistoryEvent, HistoryKind, HistoryQuery
from hub.core.model import Kind, State, Status
from hub.core.writes import Begin, DeleteInstance, DeleteWorkflow, Restart, RestartPoint, RollBack, Verb, Verdict
from hub.store import store_for
from tests.store.given import ERROR, LEASE, World, at, entry, fail, finish, park, send, settle, start_child, steer, waiting

RUNNING = entry(state=State.RUNNING, ended_at=None, output=None)


async def history(world: World, key: int, after: int = 0, limit: int = 1000) -> list[HistoryEvent]:
    return list((await world.store.find(HistoryQuery(instance=key, after=after, limit=limit))).items)


async def kinds(world: World, key: int, after: int = 0) -> list[str]:
    return [event.kind.value for event in await history(world, key, after)]


async def claim(world: World, when: float) -> int:
    """Claim the one instance that is due and return its token."""
    (snapshot,) = await world.store.claim(world.node, 1, at(when))
    return snapshot.instance.token


# ---- what is told


async def test_a_plain_instance_tells_its_steps_between_its_start_and_its_end(world: World) -> None:
    key = await world.born(created_at=at(0))
    await world.verdicts(settle(key, entry("a")), settle(key, entry("b", ordinal=2)), finish(key))

    told = await history(world, key)

    assert [(event.kind, event.entry and event.entry.name) for event in told] == [
        (HistoryKind.QUEUED, None),
        (HistoryKind.STARTED, None),
        (HistoryKind.BEGAN, "a"),
        (HistoryKind.SETTLED, "a"),
        (HistoryKind.BEGAN, "b"),
        (HistoryKind.SETTLED, "b"),
        (HistoryKind.COMPLETE, None),
    ]
    assert [event.at for event in told] == [at(0), at(1), at(1), at(2), at(1), at(2), at(9)]
    assert told[2].entry == told[3].entry == entry("a")
    assert told[2].rev == told[3].rev


async def test_revisions_grow_and_only_the_two_ends_of_one_record_share_one(world: World) -> None:
    key = await world.born()
    await world.verdicts(Begin(instance=key, token=1, at=at(1), started=(RUNNING,)), fail(key), settle(key), settle(key, entry("b")))

    told = await history(world, key)

    revs = [event.rev for event in told]
    assert revs == sorted(revs)
    assert len(set(revs)) == len(revs) - 1
    assert [event.kind for event in told if revs.count(event.rev) == 2] == [HistoryKind.BEGAN, HistoryKind.SETTLED]
    assert min(revs) > 0


async def test_an_instance_that_waits_in_the_store_is_queued_and_starts_with_its_claim(world: World) -> None:
    key = await world.create()
    assert await kinds(world, key) == ["queued"]

    await claim(world, 4)

    (started,) = await history(world, key, after=(await history(world, key))[0].rev)
    assert (started.kind, started.at) == (HistoryKind.STARTED, at(4))


@pytest.mark.parametrize("begun", [True, False])
async def test_a_start_is_told_once_and_before_everything_that_follows(world: World, begun: bool) -> None:
    key = await world.create()
    token = await claim(world, 1)
    await world.do(settle(key, token=token))
    if begun:
        await world.do(Begin(instance=key, token=token, at=at(2)))
    await world.do(finish(key, token=token))

    assert await kinds(world, key) == ["queued", "started", "began", "settled", "complete"]


async def test_a_long_step_is_told_when_it_begins_with_every_attempt_and_when_it_ends(world: World) -> None:
    key = await world.born()
    seen = (await history(world, key))[-1].rev
    told = []
    again = replace(RUNNING, attempt=2, attempt_started_at=at(60))
    for write in (
        Begin(instance=key, token=1, at=at(1), started=(RUNNING,)),
        fail(key),
        Begin(instance=key, token=1, at=at(1), started=(again,)),
        settle(key, entry(attempt=2)),
    ):
        await world.do(write)
        told.append(await history(world, key, seen))
        seen = told[-1][-1].rev

    assert [[event.kind.value for event in events] for events in told] == [["began"], ["failed"], ["attempted"], ["settled"]]
    assert (told[1][0].attempt, told[1][0].at) == (fail(key).attempt, at(1.5))
    assert (told[2][0].entry, told[2][0].at, told[2][0].data) == (again, at(60), {"attempt": 2})
    assert (told[3][0].entry, told[3][0].at) == (entry(attempt=2), at(2))


async def test_a_reading_from_the_beginning_tells_what_is_still_known_in_the_same_order(world: World) -> None:
    key = await world.born()
    again = [replace(RUNNING, attempt=number, attempt_started_at=at(number)) for number in (2, 3)]
    await world.verdicts(
        Begin(instance=key, token=1, at=at(1), started=(RUNNING,)),
        settle(key, entry("b", ordinal=2)),
        fail(key),
        Begin(instance=key, token=1, at=at(1), started=(again[0],)),
        fail(key, 2),
        Begin(instance=key, token=1, at=at(1), started=(again[1],)),
    )
    before = await history(world, key)

    await world.do(settle(key, entry(attempt=3)))

    after = await history(world, key)
    assert [(event.rev, event.kind, event.at, event.data) for event in after[:-1]] == [
        (event.rev, event.kind, event.at, event.data) for event in before
    ]
    started = ["queued", "started", "began", "began", "settled"]
    assert [event.kind.value for event in after] == [*started, "failed", "attempted", "failed", "attempted", "settled"]


async def test_the_same_record_twice_is_no_news_after_the_end_of_an_entry(world: World) -> None:
    key = await world.born()
    await world.verdicts(Begin(instance=key, token=1, at=at(1)), settle(key))
    told = await history(world, key)

    await world.verdicts(Begin(instance=key, token=1, at=at(1), started=(RUNNING,)), settle(key))

    assert await history(world, key) == told


async def test_sleeping_and_waking_are_told(world: World) -> None:
    key = await world.parked(at(4), entries=(waiting(until=at(4)),))
    token = await claim(world, 4)
    await world.do(settle(key, waiting(until=at(4), state=State.DONE, ended_at=at(4)), token=token))
    await world.do(park(key, None, token=token, at=at(5)))

    told = await history(world, key)

    assert [event.kind.value for event in told] == ["queued", "started", "began", "waiting", "running", "settled", "waiting"]
    assert [event.at for event in told[3:]] == [at(3), at(4), at(4), at(5)]


async def test_a_pause_of_a_waiting_instance_is_told_from_its_beginning_to_its_end(world: World) -> None:
    key = await world.parked(at(60))
    seen = (await history(world, key))[-1].rev
    await world.verdicts(steer(key, Verb.PAUSE, at(10)), steer(key, Verb.PAUSE, at(11)), steer(key, Verb.RESUME, at(20)))
    await claim(world, 21)

    told = await history(world, key, seen)

    assert [(event.kind.value, event.at) for event in told] == [("paused", at(10)), ("queued", at(20)), ("running", at(21))]


async def test_a_pause_of_an_executing_instance_is_told(world: World) -> None:
    key = await world.born()
    await world.do(Begin(instance=key, token=1, at=at(1)))
    seen = (await history(world, key))[-1].rev

    await world.verdicts(steer(key, Verb.PAUSE), steer(key, Verb.RESUME), steer(key, Verb.PAUSE), settle(key), park(key, None))

    assert await kinds(world, key, seen) == ["waitingForPause", "running", "waitingForPause", "began", "settled", "paused"]


async def test_an_instance_that_is_paused_before_its_start_starts_when_it_is_claimed(world: World) -> None:
    key = await world.create()
    await world.verdicts(steer(key, Verb.PAUSE), steer(key, Verb.RESUME, at(7)))
    token = await claim(world, 8)
    await world.do(Begin(instance=key, token=token, at=at(8)))

    assert await kinds(world, key) == ["queued", "paused", "queued", "started"]


async def test_a_pause_that_a_dead_node_owed_is_told(world: World) -> None:
    key = await world.born()
    await world.do(steer(key, Verb.PAUSE))
    other = await world.store.renew(None, LEASE, at(5))

    await world.store.claim(other, 1, at(10))

    assert await kinds(world, key) == ["queued", "started", "waitingForPause", "paused"]
    assert (await history(world, key))[-1].at == at(10)


@pytest.mark.parametrize("woken", [False, True])
async def test_a_node_that_stops_or_dies_tells_nothing(world: World, woken: bool) -> None:
    key = await world.born()
    await world.do(Begin(instance=key, token=1, at=at(1)))
    if woken:
        await world.do(park(key, at(3)))
        await claim(world, 3)
    told = await kinds(world, key)
    assert told == ["queued", "started", *(["waiting", "running"] if woken else [])]

    await world.do(park(key, at(4), status=Status.QUEUED, token=2 if woken else 1))
    await claim(world, 4)
    other = await world.store.renew(None, LEASE, at(5))
    assert len(await world.store.claim(other, 1, at(10))) == 1

    assert await kinds(world, key) == told


@pytest.mark.parametrize(
    ("status", "error"), [(Status.COMPLETE, None), (Status.ERRORED, ERROR), (Status.TERMINATED, None)], ids=["complete", "errored", "both"]
)
async def test_the_end_is_the_last_event(world: World, status: Status, error: Any) -> None:
    key = await world.born()
    await world.do(finish(key, status=status, error=error))

    last = (await history(world, key))[-1]

    assert (last.kind.value, last.at) == (status.value, at(9))


async def test_a_termination_is_told(world: World) -> None:
    key = await world.parked(None)

    await world.do(steer(key, Verb.TERMINATE, at(8)))

    last = (await history(world, key))[-1]
    assert (last.kind, last.at) == (HistoryKind.TERMINATED, at(8))


async def test_a_rollback_is_told_with_its_entries_and_attempts(world: World) -> None:
    key = await world.born()
    failed = fail(key)
    undone = replace(failed, entry=replace(failed.entry, kind=Kind.ROLLBACK), attempt=replace(failed.attempt, kind=Kind.ROLLBACK))
    await world.do(settle(key))
    seen = (await history(world, key))[-1].rev

    await world.verdicts(
        RollBack(instance=key, token=1, at=at(3), error=ERROR),
        undone,
        park(key, at(4), status=Status.ROLLING_BACK),
    )
    token = await claim(world, 4)
    await world.verdicts(settle(key, entry(kind=Kind.ROLLBACK), token=token), finish(key, token=token, status=Status.ERRORED))

    told = await history(world, key, seen)
    assert [event.kind.value for event in told] == ["rollingBack", "began", "failed", "settled", "errored"]
    assert told[1].entry is not None
    assert told[2].attempt == undone.attempt
    assert {event.entry.kind for event in told if event.entry} == {Kind.ROLLBACK}


async def test_a_termination_with_rollback_tells_the_rollback_first(world: World) -> None:
    key = await world.parked(None)
    await world.do(steer(key, Verb.TERMINATE, rollback=True))
    token = await claim(world, 6)
    await world.do(finish(key, token=token, status=Status.TERMINATED))

    assert await kinds(world, key) == ["queued", "started", "waiting", "rollingBack", "terminated"]


async def test_an_instance_that_is_rolled_back_before_its_start_has_not_started(world: World) -> None:
    key = await world.create()
    await world.do(steer(key, Verb.TERMINATE, rollback=True))
    token = await claim(world, 6)
    await world.do(Begin(instance=key, token=token, at=at(7)))
    await world.do(finish(key, token=token, status=Status.TERMINATED))

    assert await kinds(world, key) == ["queued", "rollingBack", "terminated"]


async def test_a_child_has_a_history_of_its_own(world: World) -> None:
    parent = await world.born("parent")
    await world.do(start_child(parent))

    assert await kinds(world, parent) == ["queued", "started", "began"]
    assert await kinds(world, parent + 1) == ["queued"]


async def test_what_is_refused_is_not_told(world: World) -> None:
    key = await world.born()
    await world.do(finish(key))
    told = await history(world, key)

    await world.verdicts(steer(key, Verb.PAUSE), settle(key), finish(key), park(key, None), send(key), steer(key, Verb.TERMINATE))

    assert await history(world, key) == told


@pytest.mark.parametrize("kind", [Kind.STEP, Kind.ROLLBACK])
async def test_an_attempt_that_was_seen_to_begin_is_none_of_the_failed_ones(world: World, kind: Kind) -> None:
    key = await world.born()
    again = replace(RUNNING, kind=kind, attempt=2, attempt_started_at=at(60))

    await world.do(Begin(instance=key, token=1, at=at(1), started=(again,)))

    assert (await world.snapshot(key)).attempts == ()
    assert (await history(world, key))[-1].kind is HistoryKind.ATTEMPTED


async def test_the_time_of_the_next_attempt_is_kept_with_the_failed_one(world: World) -> None:
    key = await world.born()
    failed = fail(key)
    failed = replace(failed, attempt=replace(failed.attempt, retry_at=at(60)))
    await world.verdicts(failed, park(key, at(60)), steer(key, Verb.PAUSE, at(10)), steer(key, Verb.RESUME, at(30)))

    snapshot = await world.snapshot(key)

    assert snapshot.attempts[0].retry_at == at(60)  # as it was planned
    assert snapshot.entries[0].wake_at == at(80)


# ---- restart


async def test_a_restart_forgets_what_was_told_and_goes_on_above_it(world: World) -> None:
    key = await world.parked(at(4))
    token = await claim(world, 4)
    await world.verdicts(settle(key, token=token), finish(key, token=token))
    seen = (await history(world, key))[-1].rev

    await world.do(Restart(instance=key, at=at(20)))
    told = await history(world, key)
    assert [(event.kind.value, event.at, event.data) for event in told] == [("restarted", at(20), None), ("queued", at(20), None)]
    assert told[0].rev > seen

    token = await claim(world, 21)
    await world.verdicts(settle(key, token=token), finish(key, token=token))
    assert await kinds(world, key, seen) == await kinds(world, key) == ["restarted", "queued", "started", "began", "settled", "complete"]


async def test_a_restart_from_an_entry_keeps_what_was_told_before_it(world: World) -> None:
    key = await world.born()
    await world.verdicts(settle(key, entry("a")), settle(key, entry("b", ordinal=2)), finish(key))
    seen = (await history(world, key))[-1].rev

    await world.do(Restart(instance=key, at=at(20), origin=RestartPoint(name="b", kind=Kind.STEP)))

    assert await kinds(world, key) == ["began", "settled", "restarted", "queued"]
    (restarted, _) = await history(world, key, seen)
    assert restarted.data == {"name": "b", "count": 1, "kind": "step"}


async def test_a_restarted_instance_has_no_end_until_it_ends_again(world: World) -> None:
    key = await world.born()
    await world.verdicts(finish(key), Restart(instance=key, at=at(20)), steer(key, Verb.TERMINATE, at(21)))

    assert await kinds(world, key) == ["restarted", "queued", "terminated"]


@pytest.mark.parametrize("what", ["instance", "workflow"])
async def test_what_is_deleted_has_no_history(world: World, what: str) -> None:
    key = await world.parked(None)

    await world.do(DeleteInstance(instance=key) if what == "instance" else DeleteWorkflow(name="orders"))

    assert await history(world, key) == []
    assert await history(world, 10**6) == []


# ---- reading on


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_put_together_are_the_whole(world: World, limit: int) -> None:
    key = await world.born()
    slow = [entry(f"slow {number}", ordinal=number) for number in range(4)]
    await world.do(
        Begin(instance=key, token=1, at=at(1), started=tuple(replace(one, state=State.RUNNING, output=None, ended_at=None) for one in slow))
    )
    await world.verdicts(
        *(settle(key, entry(f"quick {number}", ordinal=number + 9)) for number in range(4)),
        fail(key, name="slow 1"),
        *(settle(key, one) for one in reversed(slow)),
        steer(key, Verb.PAUSE),
        finish(key),
    )
    whole = await history(world, key)

    read: list[HistoryEvent] = []
    while page := await history(world, key, read[-1].rev if read else 0, limit):
        assert len(page) <= limit + 1
        read += page

    assert read == whole
    assert len(whole) == 2 + 4 + 8 + 1 + 4 + 1 + 1


async def test_who_reads_on_while_others_write_misses_nothing_and_sees_nothing_twice(world: World) -> None:
    keys = [await world.born(f"i{number}") for number in range(3)]
    await world.verdicts(*(Begin(instance=key, token=1, at=at(1)) for key in keys))
    read: dict[int, list[HistoryEvent]] = {key: [] for key in keys}

    async def write(key: int) -> None:
        for number in range(30):
            await world.store.apply([settle(key, entry(f"s{number}", ordinal=number))])
        await world.store.apply([finish(key)])

    async def follow(key: int) -> None:
        while not read[key] or read[key][-1].kind is not HistoryKind.COMPLETE:
            read[key] += await history(world, key, read[key][-1].rev if read[key] else 0, limit=5)

    await asyncio.gather(*(job(key) for key in keys for job in (write, follow)))

    for key in keys:
        assert read[key] == await history(world, key)
        assert [event.entry.name for event in read[key] if event.kind is HistoryKind.SETTLED and event.entry] == [
            f"s{number}" for number in range(30)
        ]


async def test_histories_are_the_same_whether_writes_come_in_one_group_or_alone(world: World) -> None:
    def life(key: int) -> list[Any]:
        return [
            settle(key),
            fail(key, name="b"),
            steer(key, Verb.PAUSE),
            settle(key, entry("b", attempt=2)),
            park(key, None),
            steer(key, Verb.RESUME),
            steer(key, Verb.TERMINATE, rollback=True),
            steer(key, Verb.TERMINATE),
        ]

    together, alone = await world.born("together"), await world.born("alone")
    await world.verdicts(*life(together))
    for write in life(alone):
        assert (await world.do(write)).verdict is Verdict.APPLIED

    def bare(events: list[HistoryEvent]) -> list[HistoryEvent]:
        return [replace(event, rev=0) for event in events]

    assert bare(await history(world, together)) == bare(await history(world, alone))


# ---- durability


async def test_revisions_go_on_growing_over_starts_whatever_the_clock_says(url: str) -> None:
    seen, key = 0, 0
    for start in range(3):
        store = store_for(url)
        await store.open()
        world = World(store, await store.renew(None, LEASE, at(-1000 * start)))
        if start == 0:
            await world.register("orders")
            key = await world.create()
        else:
            told = await history(world, key)
            assert told[-1].rev == seen
        (snapshot,) = await store.claim(world.node, 1, at(0))
        await world.verdicts(settle(key, entry(f"s{start}", ordinal=start), token=snapshot.instance.token))

        news = await history(world, key, seen)

        assert [event.entry.name for event in news if event.kind is HistoryKind.SETTLED and event.entry] == [f"s{start}"]
        seen = news[-1].rev
        await store.renew(world.node, timedelta(0), at(0))
        await store.close()


async def test_a_write_that_could_not_be_kept_takes_no_revision_from_the_others(world: World) -> None:
    key = await world.born()

    await world.verdicts(settle(key, entry("a")), settle(key, entry("\ud83d")), settle(key, entry("b", ordinal=2)))

    told = await history(world, key)
    assert [event.entry.name for event in told if event.kind is HistoryKind.SETTLED and event.entry] == ["a", "b"]
    assert len({event.rev for event in told}) == 4
