"""Conformance: verbs, events, restart and delete."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hub.core.lifecycle import TERMINATED
from hub.core.model import (
    InboxEvent,
    InboxQuery,
    InstanceQuery,
    Kind,
    Retention,
    Rollback,
    Source,
    State,
    Status,
    Termination,
    VersionQuery,
    Wish,
    WorkflowQuery,
)
from hub.core.writes import DeleteInstance, DeleteWorkflow, Outcome, Restart, RestartPoint, RollBack, Verb, Verdict
from tests.store.given import ERROR, World, at, call, entry, fail, finish, park, send, settle, start_child, steer, waiting

# ---- pause, resume, terminate


async def test_an_unclaimed_instance_pauses_at_once(world: World) -> None:
    key = await world.parked(at(60))

    outcome = await world.do(steer(key, Verb.PAUSE, at(10)))

    assert outcome == Outcome(verdict=Verdict.APPLIED, instance=key, id="one", status=Status.PAUSED)
    assert await world.store.claim(world.node, 1, at(100)) == []
    assert await world.store.next_due(at(100)) is None


async def test_every_outcome_of_an_executing_instance_carries_the_wish_to_pause(world: World) -> None:
    key = await world.born()
    await world.do(steer(key, Verb.PAUSE))

    outcome = await world.do(settle(key))

    assert (outcome.verdict, outcome.status, outcome.wish) == (Verdict.APPLIED, Status.WAITING_FOR_PAUSE, Wish.PAUSE)
    assert (await world.head(key)).wish is Wish.PAUSE


async def test_resume_takes_a_wish_back(world: World) -> None:
    key = await world.born()

    outcomes = await world.store.apply([steer(key, Verb.PAUSE), steer(key, Verb.RESUME), settle(key)])

    assert [(outcome.status, outcome.wish) for outcome in outcomes[1:]] == [(Status.RUNNING, Wish.NONE)] * 2


async def test_a_resumed_instance_is_due_at_once(world: World) -> None:
    key = await world.parked(at(60))
    await world.do(steer(key, Verb.PAUSE, at(10)))

    outcome = await world.do(steer(key, Verb.RESUME, at(20)))

    assert outcome.status is Status.QUEUED
    (claimed,) = await world.store.claim(world.node, 1, at(20))
    assert (claimed.instance.status, claimed.instance.paused_at) == (Status.RUNNING, None)


async def test_resume_moves_the_timers_by_the_length_of_the_pause(world: World) -> None:
    waits = (
        waiting("a", until=at(60)),
        waiting("b", until=None, ordinal=2, kind=Kind.EVENT),
        waiting("c", until=at(30), ordinal=3, state=State.DONE),
    )
    key = await world.parked(at(60), entries=waits)
    other = await world.parked(at(60), "other", entries=waits)

    await world.verdicts(steer(key, Verb.PAUSE, at(10)), steer(key, Verb.RESUME, at(10.5)))
    await world.verdicts(steer(key, Verb.PAUSE, at(20)), steer(key, Verb.RESUME, at(50)))

    assert [kept.wake_at for kept in (await world.snapshot(key)).entries] == [at(90.5), None, at(30)]
    assert (await world.snapshot(other)).entries == waits


async def test_a_pause_that_was_only_wished_moves_no_timer(world: World) -> None:
    key = await world.born()
    await world.verdicts(settle(key, waiting(until=at(60))), steer(key, Verb.PAUSE, at(10)), steer(key, Verb.RESUME, at(20)))

    assert (await world.snapshot(key)).entries[0].wake_at == at(60)


async def test_terminate_ends_an_instance_and_leaves_its_journal(world: World) -> None:
    key = await world.born()
    await world.verdicts(fail(key, 1), settle(key, entry("b", ordinal=2)), send(key))

    outcome = await world.do(steer(key, Verb.TERMINATE, at(7)))

    assert outcome == Outcome(verdict=Verdict.APPLIED, instance=key, id="one", status=Status.TERMINATED)
    snapshot = await world.snapshot(key)
    assert (snapshot.instance.ended_at, snapshot.instance.node) == (at(7), None)
    assert [kept.name for kept in snapshot.entries] == ["charge", "b"]
    assert len(snapshot.attempts) == 1


@pytest.mark.parametrize("by", [None, Termination(source=Source.API), Termination(source=Source.EVENT, cascade=True)])
@pytest.mark.parametrize("rollback", [False, True])
async def test_who_terminated_an_instance_is_kept_with_it(world: World, rollback: bool, by: Termination | None) -> None:
    key = await world.born(retention=Retention(error=timedelta(days=1)))

    await world.verdicts(replace(steer(key, Verb.TERMINATE, at(7), rollback=rollback), by=by))
    if rollback:
        await world.verdicts(settle(key), finish(key, status=Status.TERMINATED, rollback=Rollback(complete=True)))

    head = await world.head(key)
    assert (head.status, head.terminated_by) == (Status.TERMINATED, by)
    await world.do(Restart(instance=key, at=at(20)))
    assert (await world.head(key)).terminated_by is None


async def test_a_program_that_ends_before_its_termination_was_not_terminated(world: World) -> None:
    key = await world.born()
    wanted = replace(steer(key, Verb.TERMINATE, rollback=True), by=Termination(source=Source.API))

    await world.verdicts(wanted, finish(key))

    assert (await world.head(key)).terminated_by is None


async def test_terminate_ends_a_paused_instance_without_moving_its_timers(world: World) -> None:
    key = await world.parked(at(60), entries=[waiting(until=at(60))])

    await world.verdicts(steer(key, Verb.PAUSE, at(10)), steer(key, Verb.TERMINATE, at(20)))

    snapshot = await world.snapshot(key)
    assert (snapshot.instance.status, snapshot.instance.paused_at) == (Status.TERMINATED, None)
    assert snapshot.entries[0].wake_at == at(60)


@pytest.mark.parametrize("state", ["queued", "waiting", "paused"])
async def test_an_unclaimed_instance_that_is_to_roll_back_is_due_at_once_and_told(world: World, state: str) -> None:
    key = await world.create(start_at=at(60)) if state == "queued" else await world.parked(at(60))
    if state == "paused":
        await world.do(steer(key, Verb.PAUSE))
    signals = world.store.signals()

    outcome = await world.do(steer(key, Verb.TERMINATE, at(7), rollback=True))

    assert (outcome.verdict, outcome.status, outcome.wish) == (Verdict.APPLIED, Status.ROLLING_BACK, Wish.NONE)
    assert {await anext(signals), await anext(signals)} == {key, 0}
    (claimed,) = await world.store.claim(world.node, 9, at(7))
    head = claimed.instance
    assert (head.status, head.ends_as, head.error, head.paused_at) == (Status.ROLLING_BACK, Status.TERMINATED, TERMINATED, None)


async def test_every_outcome_of_an_executing_instance_carries_the_wish_to_roll_back(world: World) -> None:
    key = await world.born()
    await world.do(steer(key, Verb.TERMINATE, rollback=True))

    outcome = await world.do(settle(key))

    assert (outcome.status, outcome.wish) == (Status.ROLLING_BACK, Wish.ROLL_BACK)


@pytest.mark.parametrize("rollback", [Rollback(complete=True), Rollback(complete=False, error=ERROR)], ids=["complete", "failed"])
async def test_the_end_of_a_rollback_is_kept_beside_the_error(world: World, rollback: Rollback) -> None:
    key = await world.born()
    await world.do(RollBack(instance=key, token=1, at=at(2), error=ERROR))

    await world.do(finish(key, status=Status.ERRORED, output=None, error=ERROR, rollback=rollback))

    head = await world.head(key)
    assert (head.status, head.ends_as, head.error, head.rollback) == (Status.ERRORED, None, ERROR, rollback)


async def test_a_program_that_ends_before_its_rollback_has_begun_is_no_longer_rolling_back(world: World) -> None:
    key = await world.born()
    await world.do(steer(key, Verb.TERMINATE, rollback=True))

    await world.do(finish(key))

    head = await world.head(key)
    assert (head.status, head.ends_as, head.output, head.error) == (Status.COMPLETE, None, b'"done"', None)


async def test_a_plain_termination_ends_a_rollback(world: World) -> None:
    key = await world.born()

    await world.verdicts(RollBack(instance=key, token=1, at=at(2), error=ERROR), steer(key, Verb.TERMINATE))

    head = await world.head(key)
    assert (head.status, head.ends_as, head.error) == (Status.TERMINATED, None, None)


async def test_a_restart_forgets_the_rollback(world: World) -> None:
    key = await world.born()
    undone = entry(kind=Kind.ROLLBACK, ordinal=2)
    failed = fail(key, ordinal=2)
    await world.verdicts(
        settle(key),
        RollBack(instance=key, token=1, at=at(2), error=ERROR),
        replace(failed, entry=replace(failed.entry, kind=Kind.ROLLBACK), attempt=replace(failed.attempt, kind=Kind.ROLLBACK)),
        settle(key, undone),
        finish(key, status=Status.ERRORED, error=ERROR, rollback=Rollback(complete=True)),
        Restart(instance=key, at=at(20), origin=RestartPoint(name="charge")),
    )

    snapshot = await world.snapshot(key)
    head = snapshot.instance
    assert (head.status, head.rollback, head.ends_as, head.error) == (Status.QUEUED, None, None, None)
    assert (snapshot.entries, snapshot.attempts) == ((), ())


# ---- events


async def test_events_are_numbered_from_one_and_read_in_order_of_arrival(world: World) -> None:
    key = await world.born()

    await world.verdicts(send(key, "b", b"\x00\xff", at(5)), send(key, "a", b"2", at(5)))
    await world.do(send(key, "b", b"3", at(4)))

    snapshot = await world.snapshot(key)
    assert snapshot.inbox == (
        InboxEvent(seq=1, type="b", payload=b"\x00\xff", sent_at=at(5)),
        InboxEvent(seq=2, type="a", payload=b"2", sent_at=at(5)),
        InboxEvent(seq=3, type="b", payload=b"3", sent_at=at(4)),
    )
    assert snapshot.instance.inbox_seq == 3
    assert (await world.store.find(InboxQuery(instance=key))).items == snapshot.inbox
    assert (await world.store.find(InboxQuery(instance=key, after=1, limit=1))).items == snapshot.inbox[1:2]


async def test_an_event_wakes_a_waiting_instance(world: World) -> None:
    key = await world.parked(None)

    assert (await world.do(send(key, when=at(5)))).verdict is Verdict.APPLIED

    assert await world.store.next_due(at(4)) == at(5)
    (claimed,) = await world.store.claim(world.node, 1, at(5))
    assert len(claimed.inbox) == 1


async def test_an_event_for_a_paused_instance_waits_with_it(world: World) -> None:
    key = await world.parked(at(60))
    await world.do(steer(key, Verb.PAUSE))

    assert (await world.do(send(key))).verdict is Verdict.APPLIED

    assert await world.store.claim(world.node, 1, at(100)) == []
    await world.do(steer(key, Verb.RESUME, at(101)))
    (claimed,) = await world.store.claim(world.node, 1, at(101))
    assert len(claimed.inbox) == 1


async def test_a_consumed_event_is_never_read_again(world: World) -> None:
    key = await world.born()
    await world.verdicts(send(key, payload=b"1"), send(key, payload=b"2"), send(key, payload=b"3"))

    await world.do(settle(key, consumes=2))

    assert [event.payload for event in (await world.snapshot(key)).inbox] == [b"1", b"3"]
    await world.do(send(key, payload=b"4"))
    assert [event.seq for event in (await world.store.find(InboxQuery(instance=key, after=1))).items] == [3, 4]


async def test_an_event_can_be_sent_and_consumed_in_one_group(world: World) -> None:
    key = await world.born()

    await world.verdicts(send(key), settle(key, consumes=1), send(key))

    assert [event.seq for event in (await world.snapshot(key)).inbox] == [2]


# ---- restart


async def test_restart_forgets_the_journal_and_the_events(world: World) -> None:
    key = await world.born(params=b"[7]")
    await world.verdicts(fail(key), settle(key, entry("b", ordinal=2)), send(key), finish(key))

    outcome = await world.do(Restart(instance=key, at=at(20)))

    assert outcome == Outcome(verdict=Verdict.APPLIED, instance=key, id="one", status=Status.QUEUED)
    snapshot = await world.snapshot(key)
    assert (snapshot.entries, snapshot.attempts, snapshot.inbox) == ((), (), ())
    head = snapshot.instance
    assert (head.status, head.wake_at, head.started_at, head.ended_at, head.output) == (Status.QUEUED, at(20), None, None, None)
    assert (head.params, head.created_at) == (b"[7]", at(0))


@pytest.mark.parametrize("kind", [Kind.STEP, None])
async def test_restart_from_an_entry_forgets_it_and_all_that_began_after_it(world: World, kind: Kind | None) -> None:
    key = await world.born()
    await world.verdicts(
        fail(key, 1, name="a"),
        settle(key, entry("a", ordinal=1, attempt=2)),
        fail(key, 1, name="b", ordinal=2),
        settle(key, entry("b", ordinal=2, attempt=2)),
        fail(key, 1, name="c", ordinal=3),
        settle(key, waiting("b", until=at(9), ordinal=4)),
        send(key),
    )

    outcome = await world.do(Restart(instance=key, at=at(20), origin=RestartPoint(name="b", count=1, kind=kind)))

    assert outcome.verdict is Verdict.APPLIED
    snapshot = await world.snapshot(key)
    assert [kept.name for kept in snapshot.entries] == ["a"]
    assert [attempt.name for attempt in snapshot.attempts] == ["a"]
    assert snapshot.inbox == ()


async def test_restart_tells_entries_of_one_name_apart_by_kind_and_count(world: World) -> None:
    key = await world.born()
    await world.verdicts(
        settle(key, entry("b", ordinal=1)),
        settle(key, entry("b", ordinal=2, count=2)),
        settle(key, waiting("b", until=at(9), ordinal=3)),
        settle(key, entry("z", ordinal=4)),
    )

    await world.do(Restart(instance=key, at=at(20), origin=RestartPoint(name="b", kind=Kind.SLEEP)))
    assert [kept.ordinal for kept in (await world.snapshot(key)).entries] == [1, 2]

    await world.do(Restart(instance=key, at=at(20), origin=RestartPoint(name="b", count=2)))
    assert [kept.ordinal for kept in (await world.snapshot(key)).entries] == [1]


@pytest.mark.parametrize("kind", [None, *Kind])
async def test_restart_never_begins_at_a_rollback_handler(world: World, kind: Kind | None) -> None:
    key = await world.born()
    undone = entry("undo", ordinal=2, kind=Kind.ROLLBACK)
    await world.verdicts(settle(key, entry("a", ordinal=1)), settle(key, undone), finish(key))
    before = await world.snapshot(key)

    assert await world.verdicts(Restart(instance=key, at=at(20), origin=RestartPoint(name="undo", kind=kind))) == [Verdict.MISSING]

    assert await world.snapshot(key) == before


async def test_restart_from_a_step_forgets_the_handlers_that_ran_after_it(world: World) -> None:
    key = await world.born()
    handlers = [entry(name, ordinal=number, kind=Kind.ROLLBACK) for name, number in (("b", 3), ("a", 4))]
    await world.verdicts(settle(key, entry("a", ordinal=1)), settle(key, entry("b", ordinal=2)), *[settle(key, e) for e in handlers])

    await world.do(Restart(instance=key, at=at(20), origin=RestartPoint(name="b")))

    assert [(kept.kind, kept.name) for kept in (await world.snapshot(key)).entries] == [(Kind.STEP, "a")]


@pytest.mark.parametrize(("kind", "kept"), [(None, 1), (Kind.STEP, 1), (Kind.CHILD, 1), (Kind.SLEEP, None), (Kind.EVENT, None)])
async def test_restart_finds_a_started_workflow_as_the_step_that_it_is_shown_as(world: World, kind: Kind | None, kept: int | None) -> None:
    key = await world.born()
    await world.verdicts(settle(key, entry("a", ordinal=1)), start_child(key, "child", entry=call("child", name="b", ordinal=2)))

    outcome = await world.do(Restart(instance=key, at=at(20), origin=RestartPoint(name="b", kind=kind)))

    assert outcome.verdict is (Verdict.MISSING if kept is None else Verdict.APPLIED)
    assert len((await world.snapshot(key)).entries) == (kept or 2)


@pytest.mark.parametrize(("kind", "kept"), [(None, 0), (Kind.STEP, 2), (Kind.CHILD, 1), (Kind.SLEEP, 0)])
async def test_restart_prefers_a_step_to_a_started_workflow_of_its_name(world: World, kind: Kind | None, kept: int) -> None:
    key = await world.born()
    await world.verdicts(
        settle(key, waiting("b", until=at(9), ordinal=1)),
        start_child(key, "child", entry=call("child", name="b", ordinal=2)),
        settle(key, entry("b", ordinal=3)),
    )

    await world.do(Restart(instance=key, at=at(20), origin=RestartPoint(name="b", kind=kind)))

    assert len((await world.snapshot(key)).entries) == kept


@pytest.mark.parametrize(
    "origin", [RestartPoint(name="nowhere"), RestartPoint(name="charge", count=2), RestartPoint(name="charge", kind=Kind.EVENT)]
)
async def test_restart_from_an_unknown_entry_is_missing_and_changes_nothing(world: World, origin: RestartPoint) -> None:
    key = await world.born()
    await world.verdicts(settle(key), send(key), finish(key))
    before = await world.snapshot(key)

    outcome = await world.do(Restart(instance=key, at=at(20), origin=origin))

    assert outcome == Outcome(verdict=Verdict.MISSING, instance=key, id="one", status=Status.COMPLETE)
    assert await world.snapshot(key) == before


@pytest.mark.parametrize("origin", [None, RestartPoint(name="charge")])
async def test_restart_of_an_instance_that_is_gone_names_none(world: World, origin: RestartPoint | None) -> None:
    key = await world.ended()
    restart = Restart(instance=key, at=at(20), origin=origin)

    outcomes = await world.store.apply([DeleteInstance(instance=key), restart])

    assert outcomes[1] == Outcome(verdict=Verdict.MISSING, instance=key)


async def test_restart_takes_the_claim_away_and_the_next_one_has_a_higher_token(world: World) -> None:
    key = await world.born()
    await world.do(Restart(instance=key, at=at(20)))

    (claimed,) = await world.store.claim(world.node, 1, at(20))

    assert claimed.instance.token == 2
    assert await world.verdicts(settle(key, token=1), settle(key, token=2)) == [Verdict.FENCED, Verdict.APPLIED]


async def test_restart_ends_a_pause(world: World) -> None:
    key = await world.parked(at(60))
    await world.verdicts(steer(key, Verb.PAUSE), Restart(instance=key, at=at(20)))

    head = await world.head(key)
    assert (head.status, head.paused_at, head.wake_at, head.wish) == (Status.QUEUED, None, at(20), Wish.NONE)


async def test_events_sent_after_a_restart_of_the_same_group_are_kept(world: World) -> None:
    key = await world.born()

    await world.verdicts(send(key, payload=b"old"), Restart(instance=key, at=at(20)), send(key, payload=b"new"))

    assert [(event.seq, event.payload) for event in (await world.snapshot(key)).inbox] == [(2, b"new")]


# ---- delete


async def test_a_deleted_instance_leaves_nothing(world: World) -> None:
    key, other = await world.born("one"), await world.born("other")
    for one in (key, other):
        await world.verdicts(fail(one), settle(one, entry("b", ordinal=2)), send(one))
    kept = await world.snapshot(other)

    outcome = await world.do(DeleteInstance(instance=key))

    assert outcome == Outcome(verdict=Verdict.APPLIED, instance=key, id="one", status=Status.QUEUED)
    assert await world.store.load(key) is None
    assert (await world.store.find(InboxQuery(instance=key))).items == ()
    assert await world.store.counts() == {Status.QUEUED: 1}
    assert await world.snapshot(other) == kept
    assert await world.verdicts(DeleteInstance(instance=key)) == [Verdict.MISSING]


async def test_a_deleted_workflow_takes_its_versions_and_instances_with_it(world: World) -> None:
    await world.register("returns")
    gone, kept = await world.born("one"), await world.born("one", workflow="returns")
    await world.verdicts(settle(gone), send(gone), settle(kept), send(kept))

    assert await world.do(DeleteWorkflow(name="orders")) == Outcome(verdict=Verdict.APPLIED)

    assert await world.store.load(gone) is None
    assert (await world.store.find(VersionQuery(workflow="orders"))).items == ()
    assert [workflow.name for workflow in (await world.store.find(WorkflowQuery())).items] == ["returns"]
    assert [instance.key for instance in (await world.store.find(InstanceQuery())).items] == [kept]
    assert len((await world.snapshot(kept)).entries) == 1


async def test_an_unknown_workflow_cannot_be_deleted(world: World) -> None:
    assert await world.do(DeleteWorkflow(name="nowhere")) == Outcome(verdict=Verdict.MISSING)


async def test_a_workflow_that_is_registered_again_is_a_new_one(world: World) -> None:
    (before,) = (await world.store.find(WorkflowQuery())).items
    await world.do(DeleteWorkflow(name="orders"))

    await world.register("orders", "d9", when=at(5))

    (after,) = (await world.store.find(WorkflowQuery())).items
    assert after.id != before.id
    assert after.created_at == at(5)


async def test_park_after_a_resume_stays_due(world: World) -> None:
    """A resume that overtakes the park of a pausing execution must not be lost."""
    key = await world.born()
    await world.verdicts(steer(key, Verb.PAUSE), steer(key, Verb.RESUME))

    outcome = await world.do(park(key, None, status=Status.PAUSED))

    assert outcome.status is Status.QUEUED
    assert [claimed.instance.key for claimed in await world.store.claim(world.node, 1, at(3))] == [key]
