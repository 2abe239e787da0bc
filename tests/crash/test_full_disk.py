"""A disk that takes nothing more: intake says so, nothing acknowledged is lost, and all goes on by itself when there is room again.

Two real ways: a limit on the size of the process's files, and a small file system that is filled to the brim.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from hub import WorkflowEvent
from hub.core.delivery import TriggerEvent
from hub.core.errors import HubError, Unavailable
from hub.core.ports import CreateRequest
from hub.core.writes import Verb
from hub.engine.embedded import EmbeddedEngine

from .forks import Lives, Stage
from .journal import DATABASE, Journal
from .kills import Judge
from .node import ended, file_store, node
from .programs import Ctx, Noted

_DISK = "disk"  # the folder of the database; ledger and log lie beside it, where there is always room
_RUNNING = [f"running-{number}" for number in range(4)]
_SMALL = "size=4m"
_MOUNT = ("unshare", "-Urm", "sh", "-c", f'mount -t tmpfs -o {_SMALL} hub "$0" && exec "$@"')


class Through(Noted):
    """A step that is in its body while the disk fills, and one after it."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def held(ctx: Ctx) -> int:
            self.start(event, ctx)
            if self.env.GATE is not None:
                self.env.GATE.arrived()
                await self.env.GATE.opened.wait()
            return 1

        def after(ctx: Ctx) -> int:
            return self.start(event, ctx)

        return [await step.do("held", held), await step.do("after", after)]


class Gate:
    """Where the bodies wait until the disk is full."""

    def __init__(self, expected: int) -> None:
        self.full = asyncio.Event()
        self.opened = asyncio.Event()
        self._expected = expected

    def arrived(self) -> None:
        """Count one body."""
        self._expected -= 1
        if self._expected == 0:
            self.full.set()


class Disk(Protocol):
    """Something that can be full."""

    def fill(self) -> None: ...
    def free(self) -> None: ...


class Limited:
    """No file of this process may grow beyond what the write-ahead log has now."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / f"{DATABASE}-wal"
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._log.stat().st_size, self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


class Brimful:
    """A file system of its own, filled to the last byte."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        file = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for size in (1 << 16, 1 << 8, 1):
            with suppress(OSError):
                while True:
                    os.write(file, b"x" * size)
        os.close(file)

    def free(self) -> None:
        self._ballast.unlink()


_DISKS: dict[str, Callable[[Path], Disk]] = {"limited": Limited, "brimful": Brimful}


async def fill_up(stage: Stage) -> dict[str, Any]:
    """Fill the disk while instances run and more are wanted; then die, or make room and bring all to their end."""
    folder, gate = stage.folder / _DISK, Gate(len(_RUNNING))
    disk = _DISKS[stage.task["disk"]](folder)
    async with node(stage.folder, {"through": Through}, store=file_store(folder), LIFE=1, GATE=gate) as engine:
        await asyncio.gather(*(_create(engine, id) for id in _RUNNING))
        await gate.full.wait()
        disk.fill()
        refused = await _try_everything(engine)
        gate.opened.set()
        refused += await _try_everything(engine)  # beside the results that wait for room
        if stage.task["killed"]:
            os.kill(os.getpid(), signal.SIGKILL)
        unfinished = Journal(folder).unfinished()
        disk.free()
        statuses = [(await ended(engine, "through", id)).status for id in _RUNNING]
        await _create(engine, "afterwards")
        statuses.append((await ended(engine, "through", "afterwards")).status)
    return {**_seen(folder), "refused": refused, "statuses": statuses, "unfinished": unfinished}


async def make_room_and_start(stage: Stage) -> dict[str, Any]:
    """Start on a disk that is still full, which must be refused; then make room, and bring all to their end."""
    folder = stage.folder / _DISK
    disk = _DISKS[stage.task["disk"]](folder)
    refusal = ""
    if stage.task["disk"] == "limited":  # the limit has died with the process
        disk.fill()
    try:
        async with node(stage.folder, {"through": Through}, store=file_store(folder), LIFE=2, GATE=None):
            pass
    except HubError as error:
        refusal = type(error).__name__
    disk.free()
    async with node(stage.folder, {"through": Through}, store=file_store(folder), LIFE=2, GATE=None) as engine:
        statuses = [(await ended(engine, "through", id)).status for id in _RUNNING]
    return {**_seen(folder), "refusal": refusal, "statuses": statuses}


async def _create(engine: EmbeddedEngine, id: str) -> None:
    await engine.create(CreateRequest(workflow="through", params={"n": 1}, id=id))


async def _try_everything(engine: EmbeddedEngine) -> list[str]:
    """Ask for what needs a write; return what was not refused as it must be."""
    event = TriggerEvent(payload={"n": 1}, key="late")
    asked: dict[str, Awaitable[Any]] = {
        "create": _create(engine, "late"),
        "batch": engine.create_batch([CreateRequest(workflow="through", id="late-1"), CreateRequest(workflow="through", id="late-2")]),
        "emit": engine.emit("trigger", "through", event),
        "send": engine.send_event("through", _RUNNING[0], "go", None),
        "pause": engine.steer("through", _RUNNING[0], Verb.PAUSE),
        "delete": engine.delete("through", _RUNNING[0]),
    }
    answers = await asyncio.gather(*asked.values(), return_exceptions=True)
    return [f"{what}: {answer!r}" for what, answer in zip(asked, answers, strict=True) if not isinstance(answer, Unavailable)]


def _seen(folder: Path) -> dict[str, Any]:
    journal = Journal(folder)
    return {"integrity": journal.integrity(), "ids": sorted(id for _, id in journal.instances())}


# ---- what must hold


@contextlib.contextmanager
def disk_of(kind: str, folder: Path, lives: Lives) -> Iterator[Lives]:
    """Return the fork server whose processes have that disk. Skips where no file system can be mounted."""
    disk = folder / _DISK
    disk.mkdir()
    if kind == "limited":
        yield lives
        return
    if shutil.which("unshare") is None or subprocess.run([*_MOUNT, str(disk), "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets no process mount a file system of its own (unshare -Urm)")
    with Lives(*_MOUNT, str(disk)) as there:
        yield there


@pytest.mark.parametrize("kind", _DISKS)
def test_all_goes_on_by_itself_when_there_is_room_again(lives: Lives, folder: Path, kind: str) -> None:
    with disk_of(kind, folder, lives) as there:
        last = there.run(fill_up, folder, disk=kind, killed=False).result
    assert last["refused"] == []
    assert last["unfinished"] == len(_RUNNING)
    assert last["statuses"] == ["complete"] * (len(_RUNNING) + 1)
    assert last["ids"] == sorted([*_RUNNING, "afterwards"])
    assert last["integrity"] == "ok"
    judge = Judge(folder)
    assert judge.hear() == []
    assert judge.bodies == 2 * (len(_RUNNING) + 1)


@pytest.mark.parametrize("kind", _DISKS)
def test_a_kill_on_a_full_disk_loses_nothing_that_was_acknowledged(lives: Lives, folder: Path, kind: str) -> None:
    judge = Judge(folder)
    with disk_of(kind, folder, lives) as there:
        assert there.run(fill_up, folder, disk=kind, killed=True).killed
        assert judge.hear() == []
        last = there.run(make_room_and_start, folder, disk=kind).result
    assert last["refusal"] in ("Unavailable", "ConfigError")
    assert last["statuses"] == ["complete"] * len(_RUNNING)
    assert last["ids"] == _RUNNING
    assert last["integrity"] == "ok"
    assert judge.hear() == []
    assert judge.starts_of(("through", _RUNNING[0], "after", 1)) == 1
