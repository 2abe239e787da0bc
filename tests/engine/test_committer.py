"""Group commit: order, sharing, and a store that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

from hub.core.errors import Unavailable
from hub.core.model import InstanceQuery, NewInstance, Version
from hub.core.writes import CreateInstance, Outcome, RegisterWorkflow, Verdict, Write
from hub.engine.committer import Committer
from hub.store import store_for
from hub.testing import VirtualClock


class Outages:
    """The real store, with the disk taken away for the next `away` groups; keeps the groups that it applied."""

    def __init__(self, path: Path) -> None:
        self.store = store_for(f"sqlite:///{path}/hub.sqlite")
        self.away = 0
        self.speaks = asyncio.Event()  # until then a group waits for its answer
        self.speaks.set()
        self.groups: list[list[Write]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Apply, or be away."""
        if self.away:
            self.away -= 1
            raise Unavailable("the disk is full")
        self.groups.append(list(writes))
        outcomes = await self.store.apply(writes)
        await self.speaks.wait()
        return outcomes


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    """Return an open store that knows one workflow."""
    store = Outages(tmp_path)
    await store.open()
    version = Version(id="v", workflow="w", class_name="W", digest="d", created_at=VirtualClock().now())
    await store.apply([RegisterWorkflow(version=version, script_name="s")])
    store.groups.clear()
    yield store
    await store.close()


@pytest.fixture
def committer(store: Any) -> Committer:
    """Return a committer on that store."""
    return Committer(store, VirtualClock(), structlog.get_logger())


def create(n: int) -> CreateInstance:
    """Return the write for instance number n."""
    return CreateInstance(new=NewInstance(workflow="w", id=f"i{n}", params=b"{}", created_at=VirtualClock().now()))


async def test_writes_of_one_turn_share_a_transaction_and_keep_their_order(store: Any, committer: Committer) -> None:
    outcomes = await asyncio.gather(*(committer.submit(create(n)) for n in range(50)))
    assert [outcome.id for outcome in outcomes] == [f"i{n}" for n in range(50)]
    assert len(store.groups) == 1


async def test_what_arrives_while_the_disk_is_busy_forms_the_next_group(store: Any, committer: Committer) -> None:
    first = committer.submit(create(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [committer.submit(create(n)) for n in range(1, 30)]
    await asyncio.gather(first, *rest)
    assert [len(group) for group in store.groups] == [1, 29]


async def test_who_asks_to_be_told_hears_of_the_outcome_although_nobody_awaits_it_any_more(store: Any, committer: Committer) -> None:
    told: list[Outcome | None] = []
    future = committer.submit(create(0), patient=False, then=told.append)
    future.cancel()
    await committer.flush()
    assert [outcome and outcome.verdict for outcome in told] == [Verdict.APPLIED]
    store.away = 1
    with pytest.raises(Unavailable):
        await committer.submit(create(1), patient=False, then=told.append)
    assert told[1:] == [None]


async def test_a_future_resolves_only_when_the_write_is_on_disk(store: Any, committer: Committer) -> None:
    for n in range(20):
        await committer.submit(create(n))
        page = await store.find(InstanceQuery(workflow="w", id=f"i{n}"))
        assert len(page.items) == 1


async def test_an_impatient_write_fails_when_the_store_is_away_and_nothing_is_written(store: Any, committer: Committer) -> None:
    store.away = 1
    with pytest.raises(Unavailable, match="disk is full"):
        await committer.submit(create(1), patient=False)
    assert (await committer.submit(create(1), patient=False)).verdict is Verdict.APPLIED


async def test_patient_writes_outlast_an_outage_in_their_order(store: Any, committer: Committer) -> None:
    store.away = 5
    patient = [committer.submit(create(n)) for n in range(10)]
    impatient = committer.submit(create(99), patient=False)
    with pytest.raises(Unavailable):
        await impatient
    later = committer.submit(create(10))
    outcomes = await asyncio.gather(*patient, later)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED] * 11
    assert [write.new.id for group in store.groups for write in group] == [f"i{n}" for n in range(11)]


async def test_close_commits_what_is_queued_and_refuses_what_comes_later(store: Any, committer: Committer) -> None:
    futures = [committer.submit(create(n)) for n in range(10)]
    await committer.close()
    assert all(future.done() and future.result().verdict is Verdict.APPLIED for future in futures)
    with pytest.raises(Unavailable, match="stopping"):
        await committer.submit(create(11))


async def test_close_gives_up_on_a_store_that_stays_away(store: Any, committer: Committer) -> None:
    store.away = 10_000
    future = committer.submit(create(1))
    await asyncio.sleep(1)
    closing = asyncio.create_task(committer.close())
    with pytest.raises(Unavailable):
        await future
    await closing


async def test_a_full_queue_makes_intake_wait_until_there_is_room(store: Any, committer: Committer) -> None:
    futures = [committer.submit(create(n)) for n in range(10_000)]
    waiting = asyncio.create_task(committer.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await waiting
    assert sum(future.done() for future in futures) > 0
    await asyncio.gather(*futures)


# ---- a store that neither answers nor fails


async def test_what_waits_behind_a_silent_group_fails_if_it_is_impatient_and_the_group_gets_its_outcome(store: Any) -> None:
    committer = Committer(store, VirtualClock(), structlog.get_logger(), patience_s=0.02)
    store.speaks.clear()
    first = committer.submit(create(0), patient=False)
    await asyncio.sleep(0)  # the group is on its way
    patient, impatient = committer.submit(create(1)), committer.submit(create(2), patient=False)
    with pytest.raises(Unavailable, match="does not answer"):
        await impatient
    with pytest.raises(Unavailable, match="does not answer"):
        await committer.submit(create(3), patient=False)  # at once
    assert not first.done()

    store.speaks.set()
    assert [(await first).id, (await patient).id] == ["i0", "i1"]
    assert (await committer.submit(create(4), patient=False)).verdict is Verdict.APPLIED
    assert [instance.id for instance in (await store.find(InstanceQuery(ascending=True))).items] == ["i0", "i1", "i4"]


async def test_a_hub_that_stops_waits_for_a_silent_store_no_longer_than_it_must(store: Any) -> None:
    committer = Committer(store, VirtualClock(), structlog.get_logger(), stopping_s=0.02)
    store.speaks.clear()
    under_way = committer.submit(create(0))
    await asyncio.sleep(0)
    queued = committer.submit(create(1))
    await committer.close()
    for lost in (under_way, queued):
        with pytest.raises(Unavailable, match="does not answer"):
            await lost
