"""Rules for every test: nothing is left behind, and a missing server is told.

After each test there is no task, thread, socket or open database more than before it. A test that needs an outside server asks for its
fixture: without the server it is skipped with the reason, but on CI it fails, so that a check can never pass by not being made.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests import postgres
from tests.memory import in_memory

settings.register_profile("hub", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
settings.load_profile("hub")

_TURNS = 20  # of the event loop: what was cancelled or closed at the end of a test may finish
_JOIN_S = 5.0  # a thread that was told to end has so long
_OPEN_FILES = Path("/proc/self/fd")
_LOCAL_BROKER = "amqp://guest:guest@127.0.0.1:5672/"
_BEFORE = pytest.StashKey[tuple[set[threading.Thread], set[str]]]()
_LIVES_ON = ("hypothesis", "pytest_timeout")  # threads of the test tools


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let every asynchronous test check its event loop."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(inspect.unwrap(item.obj)):
            item.fixturenames.insert(0, "no_task_left")


def pytest_configure() -> None:
    """Put the folders of tests into memory, where that can be, and let all that tests start hear Ctrl-C.

    A shell that runs the suite in the background has it ignored.
    """
    place = in_memory()
    if place is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(place))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name compressed bytes by their length: they hold the time, and all processes that share a run must name their tests alike."""
    return f"gzip of {len(val)} bytes" if isinstance(val, bytes) and val.startswith(b"\x1f\x8b") else None


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fail when a task outlives the test and its fixtures."""
    before = asyncio.all_tasks()
    yield
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left: {', '.join(map(repr, left))}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Look at threads and connections before any fixture of the test."""
    item.stash[_BEFORE] = (set(threading.enumerate()), _connections())
    yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail when a thread, a socket or a database file outlives the test, its fixtures and its event loop."""
    yield
    threads, connections = item.stash[_BEFORE]
    for thread in set(threading.enumerate()) - threads:
        if not thread.name.startswith(_LIVES_ON):
            thread.join(_JOIN_S)
            assert not thread.is_alive(), f"a thread is left: {thread.name}"
    if not _connections() <= connections:
        gc.collect()  # a connection in a cycle of garbage is closed, only late
        left = _connections() - connections
        assert not left, f"connections left: {', '.join(sorted(left))}"


def _connections() -> set[str]:
    """Return the open sockets and database files of this process, where the system tells them."""
    found = set()
    for entry in _OPEN_FILES.iterdir() if _OPEN_FILES.is_dir() else ():
        try:
            target = str(entry.readlink())
        except OSError:  # closed since it was listed
            continue
        if target.startswith("socket:") or ".sqlite" in target:
            found.add(target)
    return found


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """Address of a PostgreSQL server on which tests may create databases."""
    url = os.environ.get("HUB_TEST_POSTGRES_URL")
    if url:
        return url
    reason = postgres.refused(postgres.LOCAL)
    if reason is not None:
        _missing(f"HUB_TEST_POSTGRES_URL is not set, and nobody comes in at {postgres.LOCAL}: {reason}")
    return postgres.LOCAL


@pytest.fixture
def postgres_server() -> Iterator[postgres.PostgresServer]:
    """Return a PostgreSQL server that a test may stop, kill and start again."""
    if postgres.binaries() is None:
        _missing(postgres.INSTALL)
    with postgres.PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def amqp_url() -> str:
    """Address of an AMQP broker on which tests may declare queues; without a variable the one that listens on this machine, if any."""
    if not os.environ.get("HUB_TEST_AMQP_URL") and _listens("127.0.0.1", 5672):
        return _LOCAL_BROKER
    return _server("HUB_TEST_AMQP_URL", _LOCAL_BROKER)


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def _server(variable: str, example: str) -> str:
    url = os.environ.get(variable)
    if url:
        return url
    _missing(f"{variable} is not set; it names a server for tests, such as {example}")


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(reason)
    pytest.fail(reason)
