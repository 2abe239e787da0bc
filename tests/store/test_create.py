"""Conformance: creating instances, recognising repetitions, registering workflows."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hub.core.model import InstanceQuery, Parent, Retention, Schedule, Source, Status, VersionQuery, WorkflowQuery
from hub.core.writes import OTHER_INPUT, CreateInstance, DeleteInstance, DeleteWorkflow, Outcome, Verdict
from tests.store.given import World, at, finish, new, settle


async def test_a_created_instance_is_queued_due_at_once_and_unclaimed(world: World) -> None:
    outcome = await world.do(CreateInstance(new=new("one")))

    assert outcome == Outcome(verdict=Verdict.APPLIED, instance=outcome.instance, id="one", status=Status.QUEUED)
    assert outcome.instance is not None
    head = await world.head(outcome.instance)
    assert (head.status, head.wake_at, head.node, head.token) == (Status.QUEUED, at(0), None, 0)
    assert (head.created_at, head.modified_at, head.started_at, head.ended_at) == (at(0), at(0), None, None)


async def test_every_field_of_a_new_instance_is_kept(world: World) -> None:
    schedule = Schedule(cron="*/5 * * * *", scheduled_at=at(-0.000_001))
    fields = {"params": b"\x00\xff[1]", "source": Source.CRON, "version": "v7", "trigger": "nightly", "dedupe_key": "k"}

    family = {"parent": Parent(key=77, inbox_type="workflow:call:1"), "retention": Retention(error=timedelta(microseconds=3))}
    head = await world.head(await world.create("ünï-1", schedule=schedule, **fields, **family))

    assert (head.workflow, head.id, head.params, head.source) == ("orders", "ünï-1", b"\x00\xff[1]", Source.CRON)
    assert (head.version, head.trigger, head.schedule) == ("v7", "nightly", schedule)
    assert (head.output, head.error, head.recoveries, head.inbox_seq) == (None, None, 0, 0)
    assert {"parent": head.parent, "retention": head.retention} == family
    assert (head.ends_as, head.rollback, head.version_ran) == (None, None, None)


async def test_an_instance_with_a_start_time_is_due_then(world: World) -> None:
    key = await world.create(start_at=at(30))

    assert (await world.head(key)).wake_at == at(30)
    assert await world.store.claim(world.node, 9, at(29)) == []
    assert [claimed.instance.key for claimed in await world.store.claim(world.node, 9, at(30))] == [key]


async def test_an_instance_born_claimed_has_the_first_token_and_is_not_due(world: World) -> None:
    key = await world.born()

    head = await world.head(key)
    assert (head.status, head.node, head.token, head.wake_at) == (Status.QUEUED, world.node, 1, None)
    assert await world.store.claim(world.node, 9, at(5)) == []
    assert await world.verdicts(settle(key, token=1)) == [Verdict.APPLIED]


async def test_an_unknown_workflow_is_missing_and_the_others_of_the_group_are_created(world: World) -> None:
    outcomes = await world.store.apply([CreateInstance(new=new("a")), CreateInstance(new=new("b", workflow="nowhere"))])

    assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED, Verdict.MISSING]
    assert await world.ids() == ["a"]


async def test_a_second_event_with_the_same_key_is_a_duplicate_that_names_the_first_instance(world: World) -> None:
    key = await world.born("first", trigger="hook", dedupe_key="d-1")
    await world.do(finish(key))

    outcome = await world.do(CreateInstance(new=new("second", trigger="hook", dedupe_key="d-1")))

    assert outcome == Outcome(verdict=Verdict.DUPLICATE, instance=key, id="first", status=Status.COMPLETE)
    assert await world.ids() == ["first"]


async def test_the_same_event_twice_in_one_group_creates_one_instance(world: World) -> None:
    first, second = await world.store.apply([CreateInstance(new=new(id, trigger="hook", dedupe_key="d-1")) for id in ("first", "second")])

    assert (first.verdict, second.verdict) == (Verdict.APPLIED, Verdict.DUPLICATE)
    assert (second.instance, second.id, second.status) == (first.instance, "first", Status.QUEUED)
    assert await world.ids() == ["first"]


async def test_a_dedupe_key_is_the_triggers_own(world: World) -> None:
    assert (
        await world.verdicts(
            CreateInstance(new=new("a", trigger="hook", dedupe_key="d-1")),
            CreateInstance(new=new("b", trigger="queue", dedupe_key="d-1")),
            CreateInstance(new=new("c", trigger="hook")),
            CreateInstance(new=new("d", trigger="hook")),
        )
        == [Verdict.APPLIED] * 4
    )


async def test_a_taken_id_is_a_conflict_that_names_the_instance(world: World) -> None:
    key = await world.ended("one")

    outcome = await world.do(CreateInstance(new=new("one")))

    assert outcome == Outcome(verdict=Verdict.CONFLICT, instance=key, id="one", status=Status.COMPLETE)
    assert await world.ids() == ["one"]


async def test_the_same_id_twice_in_one_group_is_a_conflict(world: World) -> None:
    first, second = await world.store.apply([CreateInstance(new=new("one")), CreateInstance(new=new("one", params=b"2"))])

    assert (first.verdict, second.verdict) == (Verdict.APPLIED, Verdict.CONFLICT)
    assert second.instance == first.instance
    assert first.instance is not None
    assert (await world.head(first.instance)).params == b'{"n":1}'


async def test_a_repeated_event_is_a_duplicate_even_when_its_id_is_taken_too(world: World) -> None:
    key = await world.create("one", trigger="hook", dedupe_key="d-1")

    outcome = await world.do(CreateInstance(new=new("one", trigger="hook", dedupe_key="d-1")))

    assert (outcome.verdict, outcome.instance) == (Verdict.DUPLICATE, key)


async def test_a_refused_instance_does_not_use_up_its_dedupe_key(world: World) -> None:
    await world.create("one")
    assert await world.verdicts(CreateInstance(new=new("one", trigger="hook", dedupe_key="d-1"))) == [Verdict.CONFLICT]

    assert await world.verdicts(CreateInstance(new=new("two", trigger="hook", dedupe_key="d-1"))) == [Verdict.APPLIED]


async def test_two_workflows_may_use_the_same_id(world: World) -> None:
    await world.register("returns")

    first, second = await world.create("one"), await world.create("one", workflow="returns")

    assert first != second
    assert [(await world.head(key)).workflow for key in (first, second)] == ["orders", "returns"]


async def test_ids_that_the_hub_made_are_created_without_asking(world: World) -> None:
    outcomes = await world.store.apply([CreateInstance(new=new(f"gen-{n}", generated_id=True)) for n in range(3)])

    assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED] * 3
    assert len({outcome.instance for outcome in outcomes}) == 3


async def test_a_reused_id_never_sees_the_old_results(world: World) -> None:
    old = await world.born("one")
    await world.verdicts(settle(old), finish(old), DeleteInstance(instance=old))

    key = await world.create("one")

    assert key > old
    snapshot = await world.snapshot(key)
    assert (snapshot.entries, snapshot.instance.output) == ((), None)
    assert await world.store.load(old) is None


async def test_a_key_is_not_given_again_when_the_last_instance_was_deleted(world: World) -> None:
    last = await world.create("one")
    assert await world.verdicts(DeleteInstance(instance=last), CreateInstance(new=new("two"))) == [Verdict.APPLIED] * 2

    (instance,) = (await world.store.find(InstanceQuery())).items
    assert instance.key > last


async def test_an_event_whose_instance_was_deleted_does_not_bring_it_back(world: World) -> None:
    key = await world.create("one", trigger="hook", dedupe_key="d-1")
    await world.do(DeleteInstance(instance=key))

    outcome = await world.do(CreateInstance(new=new("two", trigger="hook", dedupe_key="d-1")))

    assert outcome == Outcome(verdict=Verdict.DUPLICATE, instance=key, id="one", status=None)
    assert await world.ids() == []


async def test_an_event_whose_workflow_was_deleted_does_not_bring_it_back(world: World) -> None:
    key = await world.create("one", trigger="hook", dedupe_key="d-1")
    await world.do(DeleteWorkflow(name="orders"))
    await world.register("orders")

    outcome = await world.do(CreateInstance(new=new("two", trigger="hook", dedupe_key="d-1")))

    assert outcome == Outcome(verdict=Verdict.DUPLICATE, instance=key, id="one", status=None)


async def test_a_workflow_remembers_when_it_was_triggered_last(world: World) -> None:
    await world.store.apply([CreateInstance(new=new(f"i{n}", created_at=at(n))) for n in (4, 8, 6)])

    await world.create("of a clock that is behind", created_at=at(7))

    (workflow,) = (await world.store.find(WorkflowQuery())).items
    assert workflow.triggered_at == at(8)


@pytest.mark.parametrize("known", [False, True])
async def test_registering_tells_the_id_of_the_stored_version(world: World, known: bool) -> None:
    if known:
        await world.register("returns", "d1")

    outcome = await world.register("returns", "d1", when=at(7))

    assert outcome == Outcome(verdict=Verdict.APPLIED, id="returns-d1")
    assert [version.created_at for version in (await world.store.find(VersionQuery(workflow="returns"))).items] == [at(0 if known else 7)]


async def test_a_known_digest_changes_nothing(world: World) -> None:
    (before,) = (await world.store.find(WorkflowQuery())).items

    await world.register("orders", "d1", when=at(50))

    assert (await world.store.find(WorkflowQuery())).items == (before,)


async def test_a_new_digest_adds_a_version_and_keeps_the_workflows_id(world: World) -> None:
    (before,) = (await world.store.find(WorkflowQuery())).items

    await world.register("orders", "d2", when=at(50))

    (after,) = (await world.store.find(WorkflowQuery())).items
    assert (after.id, after.created_at, after.modified_at) == (before.id, at(0), at(50))
    versions = (await world.store.find(VersionQuery(workflow="orders"))).items
    assert [version.id for version in versions] == ["orders-d2", "orders-d1"]


# ---- repetitions


async def test_an_idempotent_creation_with_the_same_params_is_a_duplicate(world: World) -> None:
    key = await world.create(params=b'{"a":1,"b":2}')

    outcome = await world.do(CreateInstance(new=new(params=b'{"b":2,"a":1}'), idempotent=True))

    assert (outcome.verdict, outcome.instance, outcome.id, outcome.status) == (Verdict.DUPLICATE, key, "one", Status.QUEUED)


@pytest.mark.parametrize("params", [b'{"a":2}', b'{"a":true}', b"null", b'{"a":1,"b":2}'])
async def test_an_idempotent_creation_with_other_params_is_a_conflict(world: World, params: bytes) -> None:
    await world.create(params=b'{"a":1}')

    outcome = await world.do(CreateInstance(new=new(params=params), idempotent=True))

    assert (outcome.verdict, outcome.reason) == (Verdict.CONFLICT, OTHER_INPUT)


async def test_idempotent_creations_of_one_group_are_one(world: World) -> None:
    wanted = [CreateInstance(new=new(params=b"1"), idempotent=True), CreateInstance(new=new(params=b"1"), idempotent=True)]
    wanted.append(CreateInstance(new=new(params=b"2"), idempotent=True))

    assert await world.verdicts(*wanted) == [Verdict.APPLIED, Verdict.DUPLICATE, Verdict.CONFLICT]
