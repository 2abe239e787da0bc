"""Conformance: the messages of the hub's own queues, who holds them, and what becomes of them."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from hub.core.queues import (
    ContentType,
    DeleteQueue,
    Fate,
    LeasedMessage,
    LeaseMessages,
    NewMessage,
    PurgeMessages,
    PushMessages,
    QueueQuery,
    QueueRecord,
    RegisterQueue,
    SettleMessage,
)
from hub.core.writes import Leased, Outcome, Verdict, Write
from tests.store.given import LEASE, World, at

KEPT = timedelta(days=4)


def message(id: str = "m-1", **fields: Any) -> NewMessage:
    """Return a message that is visible from second 1 on."""
    return NewMessage(**{"id": id, "body": b'{"n":1}', "content_type": ContentType.JSON, "visible_at": at(1), **fields})


async def one(world: World, write: Any) -> Outcome:
    (outcome,) = await world.store.apply([write])
    return outcome


async def push(world: World, *messages: NewMessage, queue: str = "orders", when: datetime | None = None) -> Outcome:
    outcomes = await world.store.apply(
        [RegisterQueue(name=queue, at=at(0)), PushMessages(queue=queue, messages=messages or (message(),), at=when or at(1))]
    )
    return outcomes[1]


async def lease(
    world: World, limit: int = 10, *, when: datetime | None = None, node: int | None = None, body_bytes: int = 10_000, **fields: Any
) -> Leased:
    write = LeaseMessages(
        **{"queue": "orders", "limit": limit, "body_bytes": body_bytes, "at": when or at(1), "node": node or world.node, **fields}
    )
    leased = await one(world, write)
    assert isinstance(leased, Leased)
    return leased


async def settle(world: World, held: LeasedMessage, fate: Fate, **fields: Any) -> Verdict:
    return (await one(world, SettleMessage(key=held.key, lease=held.lease, fate=fate, **{"at": at(2), **fields}))).verdict


async def record(world: World, name: str = "orders") -> QueueRecord:
    (found,) = (await world.store.find(QueueQuery(name=name))).items
    return found


def ids(leased: Leased) -> list[str]:
    return [each.id for each in leased.messages]


# ---- queues


async def test_a_queue_is_known_by_its_name_until_it_is_deleted_with_its_messages(world: World) -> None:
    assert (await one(world, RegisterQueue(name="orders", at=at(0)))).verdict is Verdict.APPLIED
    assert (await one(world, RegisterQueue(name="orders", at=at(5)))).verdict is Verdict.DUPLICATE
    await push(world, message("a"), message("b", visible_at=at(7)))

    assert await record(world) == QueueRecord(name="orders", created_at=at(0), waiting=2, due_since=at(1))
    assert (await one(world, DeleteQueue(name="orders"))).verdict is Verdict.APPLIED
    assert (await one(world, DeleteQueue(name="orders"))).verdict is Verdict.MISSING

    assert (await world.store.find(QueueQuery())).items == ()
    await one(world, RegisterQueue(name="orders", at=at(0)))
    assert ids(await lease(world, when=at(10))) == []


async def test_queues_are_listed_by_name_in_pages(world: World) -> None:
    for name in ("c", "a", "b"):
        await one(world, RegisterQueue(name=name, at=at(0)))

    page = await world.store.find(QueueQuery(limit=2, offset=1, counts=False))

    assert [each.name for each in page.items] == ["b", "c"]
    assert page.total == 3


# ---- pushing


async def test_messages_come_in_the_order_in_which_they_were_sent(world: World) -> None:
    pushed = await push(world, *(message(f"m-{n}") for n in range(5)))
    await push(world, message("m-5"))

    leased = await lease(world)

    assert (pushed.verdict, pushed.count) == (Verdict.APPLIED, 5)
    assert ids(leased) == [f"m-{n}" for n in range(6)]
    assert leased.next_at is None
    assert len({each.lease for each in leased.messages}) == 6


async def test_a_message_comes_back_as_it_was_sent(world: World) -> None:
    await push(world, message("m ✗", body=b"\x00\xff", content_type=ContentType.BYTES), when=at(0.5))

    (held,) = (await lease(world)).messages

    assert (held.id, held.body, held.content_type) == ("m ✗", b"\x00\xff", ContentType.BYTES)
    assert (held.attempts, held.sent_at) == (1, at(0.5))


async def test_the_same_id_is_in_a_queue_once(world: World) -> None:
    first = await push(world, message("a"), message("a"), message("b"))
    again = await push(world, message("a"), message("c"))
    other = await push(world, message("a"), queue="invoices")

    assert (first.count, again.count, other.count) == (2, 1, 1)
    assert ids(await lease(world)) == ["a", "b", "c"]


async def test_nothing_can_be_put_into_a_queue_that_is_not_known(world: World) -> None:
    push_it = PushMessages(queue="nowhere", messages=(message(),), at=at(1))

    assert (await one(world, push_it)).verdict is Verdict.MISSING


# ---- holding


async def test_a_held_message_is_nobody_elses(world: World) -> None:
    other = await world.store.renew(None, LEASE, at(0))
    await push(world, message("a"), message("b"))

    assert ids(await lease(world, 1)) == ["a"]
    assert ids(await lease(world, node=other)) == ["b"]
    assert ids(await lease(world)) == []
    assert await record(world) == QueueRecord(name="orders", created_at=at(0), held=2)


async def test_a_delayed_message_is_due_at_its_time(world: World) -> None:
    await push(world, message("late", visible_at=at(6)), message("now"))

    early = await lease(world)

    assert ids(early) == ["now"]
    assert early.next_at == at(6)
    assert ids(await lease(world, when=at(5.999))) == []
    assert ids(await lease(world, when=at(6))) == ["late"]


async def test_no_more_bytes_are_taken_than_asked_for_but_one_message_in_any_case(world: World) -> None:
    await push(world, *(message(f"m-{n}", body=b"x" * 100) for n in range(4)))

    assert ids(await lease(world, body_bytes=250)) == ["m-0", "m-1"]
    assert ids(await lease(world, body_bytes=1)) == ["m-2"]
    assert ids(await lease(world, 0)) == ids(await lease(world, -1)) == []


async def test_what_a_dead_node_held_is_taken_over_and_counts_as_an_attempt(world: World) -> None:
    await push(world, message("a"))
    (lost,) = (await lease(world)).messages
    other = await world.store.renew(None, LEASE, at(8))

    assert ids(await lease(world, node=other, when=at(9.999_999))) == []  # the lease of the world's node ends at 10
    (taken,) = (await lease(world, node=other, when=at(10))).messages

    assert (taken.id, taken.attempts) == ("a", 2)
    assert await settle(world, lost, Fate.DONE) is Verdict.FENCED
    assert await settle(world, lost, Fate.AGAIN) is Verdict.FENCED
    assert await settle(world, lost, Fate.BACK) is Verdict.FENCED
    assert await settle(world, taken, Fate.DONE) is Verdict.APPLIED


async def test_a_node_that_renews_late_keeps_what_it_holds_while_nobody_else_has_asked(world: World) -> None:
    await push(world, message("a"))
    (held,) = (await lease(world)).messages

    assert ids(await lease(world, when=at(11))) == []  # its lease has ended at 10
    assert await settle(world, held, Fate.DONE) is Verdict.APPLIED


async def test_what_a_client_pulls_comes_again_after_its_time(world: World) -> None:
    await push(world, message("a"))
    (pulled,) = (await one_pull(world, at(1), at(31))).messages

    assert ids(await lease(world, when=at(30))) == []
    (again,) = (await lease(world, when=at(31))).messages

    assert (again.id, again.attempts) == ("a", 2)
    assert await settle(world, pulled, Fate.DONE) is Verdict.FENCED


async def one_pull(world: World, when: datetime, until: datetime) -> Leased:
    leased = await one(world, LeaseMessages(queue="orders", limit=10, body_bytes=1000, at=when, until=until))
    assert isinstance(leased, Leased)
    return leased


# ---- settling


async def test_what_is_done_is_gone(world: World) -> None:
    await push(world, message("a"), message("b"))
    first, _ = (await lease(world)).messages

    assert await settle(world, first, Fate.DONE) is Verdict.APPLIED
    assert await settle(world, first, Fate.DONE) is Verdict.FENCED
    assert (await record(world)).held == 1


async def test_what_shall_come_again_waits_until_its_time_and_counts(world: World) -> None:
    await push(world, message("a"))
    (held,) = (await lease(world)).messages

    assert await settle(world, held, Fate.AGAIN, visible_at=at(8)) is Verdict.APPLIED

    assert ids(await lease(world, when=at(7.9))) == []
    (again,) = (await lease(world, when=at(8))).messages
    assert (again.attempts, again.sent_at) == (2, at(1))


async def test_what_nobody_has_looked_at_goes_back_to_its_place_and_does_not_count(world: World) -> None:
    await push(world, message("a"), message("b"))
    (held,) = (await lease(world, 1)).messages

    assert await settle(world, held, Fate.BACK) is Verdict.APPLIED

    assert [(each.id, each.attempts) for each in (await lease(world)).messages] == [("a", 1), ("b", 1)]


async def test_a_buried_message_lies_in_the_other_queue_as_a_new_one(world: World) -> None:
    await push(world, message("a"))
    await one(world, RegisterQueue(name="dead", at=at(0)))
    (held,) = (await lease(world)).messages

    assert await settle(world, held, Fate.BURY, to="nowhere") is Verdict.MISSING
    assert await settle(world, held, Fate.BURY, to="dead", at=at(9)) is Verdict.APPLIED
    assert await settle(world, held, Fate.BURY, to="dead") is Verdict.FENCED

    assert await record(world) == QueueRecord(name="orders", created_at=at(0))
    (dead,) = (await lease(world, queue="dead", when=at(9))).messages
    assert (dead.id, dead.body, dead.attempts, dead.sent_at) == ("a", held.body, 1, at(9))


async def test_a_purge_takes_held_messages_too(world: World) -> None:
    await push(world, message("a"), message("b"))
    (held,) = (await lease(world, 1)).messages

    purged = await one(world, PurgeMessages(queue="orders"))

    assert (purged.verdict, purged.count) == (Verdict.APPLIED, 2)
    assert await settle(world, held, Fate.BACK) is Verdict.FENCED
    assert ids(await lease(world, when=at(99))) == []
    assert (await one(world, PurgeMessages(queue="nowhere"))).verdict is Verdict.MISSING


async def test_writes_of_one_group_see_each_other(world: World) -> None:
    writes: list[Write] = [
        RegisterQueue(name="orders", at=at(0)),
        PushMessages(queue="orders", messages=(message("a"),), at=at(1)),
        LeaseMessages(queue="orders", limit=1, body_bytes=1000, at=at(1), node=world.node),
    ]
    leased = (await world.store.apply(writes))[-1]

    assert isinstance(leased, Leased)
    assert ids(leased) == ["a"]


async def test_no_message_is_given_to_two_who_ask_at_once(world: World) -> None:
    await push(world, *(message(f"m-{n:03}") for n in range(100)))

    found = await asyncio.gather(*(lease(world, 9) for _ in range(12)))

    assert sorted(id for each in found for id in ids(each)) == [f"m-{n:03}" for n in range(100)]


# ---- pruning


async def test_messages_are_kept_as_long_as_is_said(world: World) -> None:
    await push(world, *(message(f"old-{n}") for n in range(3)), when=at(0))
    await push(world, message("young"), when=at(1))

    assert await world.store.prune(at(0) + KEPT, 10, None, KEPT) == 0
    assert await world.store.prune(at(0.5) + KEPT, 10) == 0
    assert await world.store.prune(at(0.5) + KEPT, 2, None, KEPT) == 2
    assert await world.store.prune(at(0.5) + KEPT, 2, None, KEPT) == 1
    assert await world.store.prune(at(0.5) + KEPT, 2, None, KEPT) == 0

    assert ids(await lease(world, when=at(9))) == ["young"]
