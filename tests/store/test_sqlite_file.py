"""The embedded store and its file: addresses, re-opening, lock, crashes, and the rules that the file itself keeps."""
# ruff: noqa: ASYNC220  # files and processes are what this is about, and nothing else waits for the loop

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hub.core.errors import ConfigError, Unavailable
from hub.core.model import InboxQuery, InstanceQuery, Status, VersionQuery, WorkflowQuery
from hub.core.writes import CreateInstance, DeleteInstance, Restart, Verdict
from hub.store import store_for
from tests.store.given import ERROR, LEASE, World, at, entry, fail, finish, new, opened, park, send, settle, waiting, world_in


@pytest.fixture
def database() -> str:
    """Run on SQLite only."""
    return "sqlite"


# ---- addresses and rights


async def test_three_slashes_are_a_path_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = store_for("sqlite:///deep/er/hub.sqlite")

    await store.open()
    await store.close()

    assert (tmp_path / "deep/er/hub.sqlite").is_file()


async def test_four_slashes_are_an_absolute_path_taken_literally(tmp_path: Path) -> None:
    path = tmp_path / "ünï ?x=1#% 20.sqlite"

    async with world_in(path) as world:
        await world.create()
        assert await world.ids() == ["one"]

    assert path.is_file()


async def test_a_new_file_and_its_logs_are_for_their_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        async with world_in(path) as world:
            await world.create()
            assert [rights(path.with_name(path.name + log)) for log in ("", "-wal", "-shm")] == [0o600] * 3
    finally:
        os.umask(before)


async def test_a_file_keeps_the_rights_that_somebody_has_given_it(path: Path) -> None:
    async with world_in(path):
        pass
    os.chmod(path, 0o640)  # noqa: PTH101
    async with world_in(path):
        assert rights(path) == 0o640


def rights(file: Path) -> int:
    return file.stat().st_mode & 0o777


@pytest.mark.parametrize("url", ["", "hub.sqlite", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///folder/", "mysql://h/hub", "postgresql+asyncpg://h/hub"])
def test_any_other_address_is_refused_with_what_to_write_instead(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url: .*write sqlite:///"):
        store_for(url)


# ---- opening and closing


async def test_everything_is_there_after_re_opening(path: Path) -> None:
    async with world_in(path) as world:
        ended, waits, claimed = await world.ended("ended"), await world.born("waits"), await world.born("claimed")
        await world.verdicts(fail(waits), send(waits), park(waits, at(60), seen=1, entries=(waiting(until=at(60), ordinal=2),)))
        await world.do(settle(claimed))
        before = await world.everything()
        lists = [(await world.store.find(WorkflowQuery())), (await world.store.find(VersionQuery(workflow="orders")))]

    async with opened(path) as store:
        again = World(store, 0)
        assert await again.everything() == before
        assert [await store.find(WorkflowQuery()), await store.find(VersionQuery(workflow="orders"))] == lists
        assert await store.next_due(at(0)) == at(60)
        assert [instance.instance.key for instance in before] == [ended, waits, claimed]


async def test_keys_and_nodes_are_not_given_again_after_re_opening(path: Path) -> None:
    async with world_in(path) as world:
        first = await world.create()
        await world.do(DeleteInstance(instance=first))

    async with world_in(path) as again:
        assert await again.create() > first
        assert again.node > world.node


async def test_the_first_node_after_opening_ends_the_leases_of_all_others(path: Path) -> None:
    """The lock proves that no other process executes anything."""
    store = store_for(f"sqlite:///{path}")
    await store.open()
    world = World(store, await store.renew(None, LEASE, at(0)))
    await world.register("orders")
    key = await world.born()
    await store.close()
    await store.open()
    node = await store.renew(None, LEASE, at(1))

    (claimed,) = await store.claim(node, 9, at(1))
    assert (claimed.instance.key, claimed.instance.node, claimed.instance.recoveries) == (key, node, 1)

    assert await store.claim(await store.renew(None, LEASE, at(1)), 9, at(1)) == []  # not the first one
    await store.close()


async def test_open_and_close_are_safe_twice_and_leave_no_thread(path: Path) -> None:
    store = store_for(f"sqlite:///{path}")
    await store.close()
    await store.open()
    await store.open()
    assert await store.counts() == {}
    await store.close()
    await store.close()

    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("hub-store")] == []

    await store.open()
    assert await store.counts() == {}
    await store.close()


async def test_a_closed_store_is_unavailable(path: Path) -> None:
    async with world_in(path) as world:
        store = world.store

    with pytest.raises(Unavailable, match="is closed"):
        await store.apply([CreateInstance(new=new())])
    with pytest.raises(Unavailable, match="is closed"):
        await store.find(InstanceQuery())


async def test_close_finishes_what_was_handed_in(path: Path) -> None:
    async with world_in(path) as world:
        groups = [asyncio.ensure_future(world.store.apply([CreateInstance(new=new(f"i{n}"))])) for n in range(20)]
        await asyncio.sleep(0)  # they are handed in

    assert {(await group)[0].verdict for group in groups} == {Verdict.APPLIED}
    async with opened(path) as store:
        assert await store.counts() == {Status.QUEUED: 20}


async def test_a_close_that_is_cancelled_gives_the_file_back_all_the_same(path: Path) -> None:
    store = store_for(f"sqlite:///{path}")
    await store.open()
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)  # it has begun

    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await store.close()

    for thread in threading.enumerate():
        if thread.name.startswith("hub-store"):
            await asyncio.to_thread(thread.join)
    async with opened(path) as again:
        assert await again.counts() == {}


async def test_the_file_is_in_write_ahead_mode(path: Path) -> None:
    async with opened(path):
        pass

    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# ---- the lock


async def test_a_second_hub_on_the_file_is_told_the_first_ones_process(path: Path) -> None:
    async with world_in(path) as world:
        second = store_for(f"sqlite:///{path}")

        with pytest.raises(ConfigError, match=rf"hub\.sqlite is in use by another hub, process {os.getpid()} \(started 20.*--data DIR"):
            await second.open()

        await world.create()
        assert await world.ids() == ["one"]
    await second.open()
    await second.close()


async def test_a_killed_hub_leaves_no_lock_and_nothing_answered_is_lost(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        answered = [hub.stdout.readline().strip() for _ in range(25)]
        hub.send_signal(signal.SIGKILL)
        answered += hub.stdout.read().split()

    async with opened(path) as store:
        page = await store.find(InstanceQuery(limit=100_000, ascending=True))

    stored = [instance.id for instance in page.items]
    assert stored[: len(answered)] == answered
    assert len(stored) - len(answered) in (0, 1)  # one may have been on disk and not yet answered


WRITE_FOR_EVER = """
import asyncio, itertools, sys
from hub.core.writes import CreateInstance
from tests.store.given import LEASE, World, at, new
from hub.store import store_for

async def main():
    store = store_for(f"sqlite:///{sys.argv[1]}")
    await store.open()
    await World(store, 1).register("orders")
    for number in itertools.count():
        await store.apply([CreateInstance(new=new(f"i{number}"))])
        print(f"i{number}", flush=True)

asyncio.run(main())
"""


# ---- rules that the database itself keeps


@pytest.mark.parametrize("final", [Status.COMPLETE, Status.ERRORED, Status.TERMINATED])
async def test_the_database_itself_keeps_what_has_ended_as_it_is(path: Path, final: Status) -> None:
    async with world_in(path) as world:
        key = await world.ended(status=final, error=None if final is Status.COMPLETE else ERROR)
        before = await world.head(key)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        changes: list[tuple[str, str | int | None]] = [("status = ?", status.value) for status in Status]
        changes += [(f"{column} = ?", None) for (_, column, *_) in db.execute("PRAGMA table_info(instance)") if column != "key"]
        changes += [("modified_at = ?", 0), ("status = 'queued', ended_at = ?", None), ("status = 'queued', wake_at = ?", 1)]
        for change, value in changes:
            with pytest.raises(sqlite3.IntegrityError, match="what has ended changes only by a restart"):
                db.execute(f"UPDATE instance SET {change}", (value,))

    async with opened(path) as store:
        again = World(store, 0)
        assert await again.head(key) == before
        assert (await again.do(Restart(instance=key, at=at(20)))).status is Status.QUEUED


async def test_a_deleted_instance_leaves_no_row_but_the_memory_of_its_delivery(path: Path) -> None:
    async with world_in(path) as world:
        key = await world.born("one", trigger="hook", dedupe_key="d-1")
        await world.verdicts(fail(key), settle(key, entry("b", ordinal=2)), send(key), finish(key), DeleteInstance(instance=key))

    with contextlib.closing(sqlite3.connect(path)) as db:
        counts = {
            table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("instance", "step", "attempt", "inbox", "idempotency", "workflow")
        }
    assert counts == {"instance": 0, "step": 0, "attempt": 0, "inbox": 0, "idempotency": 1, "workflow": 1}


async def test_what_was_consumed_is_gone_from_the_file(path: Path) -> None:
    async with world_in(path) as world:
        key = await world.born()
        await world.verdicts(send(key), settle(key, consumes=1))

    async with opened(path) as store:
        assert (await store.find(InboxQuery(instance=key))).items == ()
        assert (await World(store, 0).head(key)).inbox_seq == 1
