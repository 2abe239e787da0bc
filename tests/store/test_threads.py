"""The thread that writes: order, outcomes and ends of what it is asked for, also where nobody waits any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hub.store.threads import OneThread, WriterThread


@contextmanager
def connection() -> Iterator[list[int]]:
    yield []


@pytest.fixture
def thread() -> Iterator[OneThread]:
    thread = OneThread("worker")
    yield thread
    thread.shutdown()


async def test_calls_run_in_one_thread_in_their_order(thread: OneThread) -> None:
    done: list[int] = []

    def note(number: int) -> int:
        done.append(number)
        return threading.get_ident()

    threads = await asyncio.gather(*(thread.submit(note, number) for number in range(100)))

    assert done == [*range(100)]
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_a_call_that_fails_tells_its_caller_and_the_next_one_runs(thread: OneThread) -> None:
    def fail() -> None:
        raise KeyError("gone")

    failed, next_ = thread.submit(fail), thread.submit(int, "7")
    with pytest.raises(KeyError, match="gone"):
        await failed
    assert await next_ == 7


async def test_a_call_whose_caller_has_gone_runs_all_the_same(thread: OneThread) -> None:
    ran = threading.Event()
    thread.submit(ran.set).cancel()
    await thread.submit(int)

    assert ran.is_set()


def test_a_loop_that_is_closed_meanwhile_does_not_end_the_thread(thread: OneThread) -> None:
    goes_on, ran = threading.Event(), threading.Event()

    async def leave() -> None:
        thread.submit(goes_on.wait)

    asyncio.run(leave())
    goes_on.set()

    async def come_back() -> None:
        await thread.submit(ran.set)

    asyncio.run(come_back())
    assert ran.is_set()


async def test_what_was_asked_for_is_done_before_the_end_and_nothing_after() -> None:
    thread, done = OneThread("worker"), list[int]()
    for number in range(10):
        thread.submit(done.append, number)
    await asyncio.to_thread(thread.shutdown)
    thread.shutdown()

    assert done == [*range(10)]
    with pytest.raises(RuntimeError, match="has been stopped"):
        thread.submit(int)


async def test_the_outcome_is_told_before_the_caller_goes_on_and_when_there_is_none() -> None:
    writer, told = WriterThread(connection), list[str]()
    await writer.start()
    try:
        await writer.run(lambda db: "awaited", told.append)
        assert told == ["awaited"]

        writer.run(lambda db: "cancelled", told.append).cancel()
        await writer.run(lambda db: None)
        assert told == ["awaited", "cancelled"]
    finally:
        await writer.stop()
        await writer.stop()
