"""Conformance: what an execution writes under its claim, and that it writes nothing without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from hub.core.model import Attempt, Backoff, Entry, InboxQuery, Kind, State, Status, StepConfig
from hub.core.writes import Begin, DeleteInstance, Outcome, Restart, RollBack, StartWait, Steer, Verb, Verdict, Write
from tests.store.given import ERROR, World, at, call, entry, fail, finish, park, send, settle, start_child, steer, waiting

POLICY = StepConfig(limit=0, delay=timedelta(microseconds=1), backoff=Backoff.LINEAR, timeout=timedelta(days=365))


def begin(instance: int, *started: Entry, token: int = 1) -> Begin:
    return Begin(instance=instance, token=token, at=at(2), started=started)


FENCED_WRITES: dict[str, Callable[[int, int], Write]] = {
    "begin": lambda key, token: begin(key, entry("late", state=State.RUNNING), token=token),
    "settle": lambda key, token: settle(key, entry("late"), token=token, consumes=1),
    "fail": lambda key, token: fail(key, name="late", token=token),
    "wait": lambda key, token: StartWait(instance=key, token=token, entry=waiting("late", until=at(9))),
    "start child": lambda key, token: start_child(key, token=token),
    "roll back": lambda key, token: RollBack(instance=key, token=token, at=at(4), error=ERROR),
    "park": lambda key, token: park(key, at(9), token=token, entries=(waiting("late", until=at(9)),)),
    "finish": lambda key, token: finish(key, token=token),
}


# ---- fencing


@pytest.mark.parametrize("name", FENCED_WRITES)
async def test_late_write_of_a_lost_claim_is_fenced(world: World, name: str) -> None:
    key = await world.born()
    await world.verdicts(send(key), settle(key, entry("early")), park(key, at(4), seen=1))
    (claimed,) = await world.store.claim(world.node, 1, at(4))
    assert claimed.instance.token == 2
    before = await world.snapshot(key)

    outcome = await world.do(FENCED_WRITES[name](key, 1))

    assert outcome == Outcome(verdict=Verdict.FENCED, instance=key, id="one", status=Status.RUNNING)
    assert await world.snapshot(key) == before


@pytest.mark.parametrize("name", FENCED_WRITES)
@pytest.mark.parametrize("end", ["park", "finish", "terminate", "restart"])
async def test_a_claim_ends_with_what_gives_it_back(world: World, end: str, name: str) -> None:
    key = await world.born()
    last: dict[str, Write] = {
        "park": park(key, at(9)),
        "finish": finish(key),
        "terminate": steer(key, Verb.TERMINATE),
        "restart": Restart(instance=key, at=at(6)),
    }
    await world.verdicts(send(key), last[end])
    before = await world.snapshot(key)

    assert await world.verdicts(FENCED_WRITES[name](key, 1)) == [Verdict.FENCED]
    assert await world.snapshot(key) == before


@pytest.mark.parametrize("name", FENCED_WRITES)
async def test_a_write_on_a_deleted_instance_is_missing(world: World, name: str) -> None:
    key = await world.born()
    await world.do(DeleteInstance(instance=key))

    assert await world.do(FENCED_WRITES[name](key, 1)) == Outcome(verdict=Verdict.MISSING, instance=key)
    assert (await world.store.find(InboxQuery(instance=key))).items == ()


async def test_a_claim_that_was_lost_within_the_group_fences_the_rest_of_it(world: World) -> None:
    key = await world.born()

    assert await world.verdicts(settle(key, entry("a")), steer(key, Verb.TERMINATE), settle(key, entry("b")), finish(key)) == [
        Verdict.APPLIED,
        Verdict.APPLIED,
        Verdict.FENCED,
        Verdict.FENCED,
    ]

    snapshot = await world.snapshot(key)
    assert [found.name for found in snapshot.entries] == ["a"]
    assert (snapshot.instance.status, snapshot.instance.output) == (Status.TERMINATED, None)


# ---- the journal


async def test_begin_tells_that_the_instance_runs_and_keeps_the_first_start(world: World) -> None:
    key = await world.born()

    assert (await world.do(begin(key))).status is Status.RUNNING
    await world.do(replace(begin(key), at=at(50)))

    head = await world.head(key)
    assert (head.status, head.started_at, head.modified_at) == (Status.RUNNING, at(2), at(50))


@pytest.mark.parametrize("how", ["begin", "park", "finish"])
async def test_the_version_that_ran_last_is_kept(world: World, how: str) -> None:
    key = await world.born(version="v1")
    runs: dict[str, Write] = {
        "begin": replace(begin(key), version="v2"),
        "park": park(key, None, version="v2"),
        "finish": finish(key, version="v2"),
    }

    await world.do(runs[how])

    head = await world.head(key)
    assert (head.version, head.version_ran) == ("v1", "v2")


async def test_begin_keeps_the_attempts_under_way(world: World) -> None:
    key = await world.born()
    under_way = entry(state=State.RUNNING, ended_at=None, output=None, attempt=3, attempt_started_at=at(2))

    await world.do(begin(key, under_way))

    assert (await world.snapshot(key)).entries == (under_way,)


@pytest.mark.parametrize(
    "kept",
    [
        entry(),
        entry("", output=b"", attempt=7, attempt_started_at=at(1.5), config=POLICY),
        entry("name\nwith 'quotes' ✓", count=12, ordinal=40, state=State.FAILED, output=None, error=ERROR),
        entry("nothing", output=None, config=StepConfig()),
        entry("rare", config=StepConfig(jitter=0.25, dynamic=True, sensitive=True)),
        waiting("rest", until=at(86400 * 365)),
        call(ordinal=7),
        entry("undone", kind=Kind.ROLLBACK, config=POLICY),
        Entry(kind=Kind.EVENT, name="ok", count=2, ordinal=3, state=State.DONE, started_at=at(1), event_type="a-b", output=b"\x80"),
    ],
    ids=lambda kept: kept.target,
)
async def test_every_field_of_an_entry_is_kept(world: World, kept: Entry) -> None:
    key = await world.born()

    assert (await world.do(settle(key, kept))).verdict is Verdict.APPLIED

    assert (await world.snapshot(key)).entries == (kept,)


async def test_entries_come_back_in_the_order_in_which_they_began(world: World) -> None:
    key = await world.born()
    kinds = [
        entry("z", ordinal=1),
        waiting("a", until=at(4), ordinal=2, kind=Kind.EVENT),
        waiting("a", until=at(4), ordinal=3),
        entry("a", ordinal=4),
    ]

    await world.verdicts(*(settle(key, kept) for kept in reversed(kinds)))

    assert (await world.snapshot(key)).entries == tuple(kinds)


async def test_a_failed_attempt_is_kept_beside_its_entry(world: World) -> None:
    key = await world.born()

    await world.verdicts(fail(key, 1), fail(key, 2), settle(key, entry(attempt=3)))

    snapshot = await world.snapshot(key)
    assert snapshot.entries == (entry(attempt=3),)
    assert snapshot.attempts == tuple(
        Attempt(name="charge", count=1, number=number, started_at=at(number), ended_at=at(number + 0.5), error=ERROR) for number in (1, 2)
    )


async def test_attempts_of_a_step_and_of_its_rollback_are_kept_apart(world: World) -> None:
    key = await world.born()
    undone = fail(key, 1, ordinal=2)
    undone = replace(undone, entry=replace(undone.entry, kind=Kind.ROLLBACK), attempt=replace(undone.attempt, kind=Kind.ROLLBACK))

    await world.verdicts(fail(key, 1), undone)

    snapshot = await world.snapshot(key)
    assert {(kept.kind, kept.name) for kept in snapshot.entries} == {(Kind.STEP, "charge"), (Kind.ROLLBACK, "charge")}
    assert {attempt.kind for attempt in snapshot.attempts} == {Kind.STEP, Kind.ROLLBACK}
    assert undone.attempt in snapshot.attempts


async def test_failed_attempts_of_parallel_steps_come_back_in_order_of_time(world: World) -> None:
    key = await world.born()

    await world.verdicts(fail(key, 3, name="a"), fail(key, 1, name="b", ordinal=2), fail(key, 2, name="a"))

    assert [(attempt.name, attempt.number) for attempt in (await world.snapshot(key)).attempts] == [("b", 1), ("a", 2), ("a", 3)]


@pytest.mark.parametrize("final", [State.DONE, State.FAILED])
async def test_a_settled_entry_is_never_unsettled_by_what_was_written_behind(world: World, final: State) -> None:
    key = await world.born()
    settled = entry(state=final)
    await world.do(settle(key, settled))

    await world.verdicts(begin(key, entry(state=State.RUNNING, output=None)), fail(key), settle(key, entry(output=b'"other"')))

    assert (await world.snapshot(key)).entries == (settled,)


async def test_a_wait_that_stays_in_memory_is_on_disk_all_the_same(world: World) -> None:
    key = await world.born()
    resting = waiting(until=at(7))

    assert await world.verdicts(StartWait(instance=key, token=1, entry=resting)) == [Verdict.APPLIED]

    snapshot = await world.snapshot(key)
    assert snapshot.entries == (resting,)
    assert (snapshot.instance.node, snapshot.instance.wake_at) == (world.node, None)


# ---- parking


@pytest.mark.parametrize("until", [at(60), None])
async def test_a_parked_instance_waits_without_a_node(world: World, until: object) -> None:
    key = await world.born()
    waits = (waiting("a", until=at(60)), waiting("b", until=at(70), ordinal=2))

    outcome = await world.do(park(key, at(60) if until else None, entries=waits))

    assert (outcome.verdict, outcome.status) == (Verdict.APPLIED, Status.WAITING)
    snapshot = await world.snapshot(key)
    head = snapshot.instance
    assert (head.status, head.node, head.wake_at, head.started_at) == (Status.WAITING, None, until, at(1))
    assert snapshot.entries == waits


async def test_an_event_that_lands_between_load_and_park_leaves_the_instance_due(world: World) -> None:
    key = await world.born()
    await world.do(send(key))  # after the execution has read an empty inbox

    await world.do(park(key, at(3600), seen=0))

    (claimed,) = await world.store.claim(world.node, 1, at(3))
    assert [event.seq for event in claimed.inbox] == [1]


async def test_an_event_that_the_execution_has_seen_does_not_wake_it_again(world: World) -> None:
    key = await world.born()
    await world.do(send(key))

    await world.do(park(key, at(3600), seen=1))

    assert await world.store.claim(world.node, 1, at(3)) == []
    assert await world.store.next_due(at(3)) == at(3600)


async def test_an_instance_that_a_stopping_node_hands_on_is_due_at_once(world: World) -> None:
    key = await world.born()

    await world.do(park(key, at(3), status=Status.QUEUED))

    assert [claimed.instance.key for claimed in await world.store.claim(world.node, 1, at(3))] == [key]


async def test_park_fulfils_a_wish_to_pause(world: World) -> None:
    key = await world.born()
    outcome = await world.do(steer(key, Verb.PAUSE))
    assert (outcome.status, outcome.wish) == (Status.WAITING_FOR_PAUSE, "pause")

    outcome = await world.do(park(key, None, status=Status.PAUSED))

    assert (outcome.status, outcome.wish) == (Status.PAUSED, "none")
    head = await world.head(key)
    assert (head.status, head.paused_at, head.node, head.wake_at) == (Status.PAUSED, at(3), None, None)


# ---- the end


async def test_finish_keeps_output_and_frees_the_claim(world: World) -> None:
    key = await world.born()

    outcome = await world.do(finish(key, output=b"\xff{}"))

    assert outcome == Outcome(verdict=Verdict.APPLIED, instance=key, id="one", status=Status.COMPLETE)
    head = await world.head(key)
    assert (head.status, head.output, head.error) == (Status.COMPLETE, b"\xff{}", None)
    assert (head.started_at, head.ended_at, head.modified_at, head.node) == (at(1), at(9), at(9), None)


async def test_finish_keeps_the_error_of_a_failed_instance(world: World) -> None:
    key = await world.ended(status=Status.ERRORED, output=None, error=ERROR)

    head = await world.head(key)
    assert (head.status, head.output, head.error) == (Status.ERRORED, None, ERROR)


async def test_the_start_that_begin_has_told_is_kept_at_the_end(world: World) -> None:
    key = await world.born()
    await world.verdicts(begin(key), finish(key, started_at=at(8)))

    assert (await world.head(key)).started_at == at(2)


@pytest.mark.parametrize("verb", list(Verb))
async def test_a_final_instance_takes_no_verb_and_no_event(world: World, verb: Verb) -> None:
    key = await world.ended()
    before = await world.snapshot(key)

    outcomes = await world.store.apply([steer(key, verb), send(key)])

    assert [outcome.verdict for outcome in outcomes] == [Verdict.CONFLICT] * 2
    assert [outcome.status for outcome in outcomes] == [Status.COMPLETE] * 2
    assert await world.snapshot(key) == before


async def test_writes_on_an_unknown_instance_are_missing(world: World) -> None:
    writes: list[Write] = [write(77, 1) for write in FENCED_WRITES.values()]
    writes += [send(77), Steer(instance=77, verb=Verb.PAUSE, at=at(1)), Restart(instance=77, at=at(1)), DeleteInstance(instance=77)]

    outcomes = await world.store.apply(writes)

    assert outcomes == [Outcome(verdict=Verdict.MISSING, instance=77)] * len(writes)
    assert await world.store.load(77) is None
