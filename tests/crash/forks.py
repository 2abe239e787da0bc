"""Lives: short processes, forked from a warm parent and killed at a chosen moment.

Owns the fork server (`python -m tests.crash.forks`), which has imported everything, and its client `Lives`. The server never has a thread
or an event loop, so that a fork of it is a clean process. Invariant: when `Lives.run` returns, the process that it tells of is gone, and
when the server ends, so are all that `Lives.begin` has let live.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from hub.process import loop_factory

_WARM = (
    *("tests.crash.kills", "tests.crash.faults", "hub.store.sqlite", "hub.store.tables", "alembic.command", "alembic.config", "pytest"),
    *("tests.crash.cluster_project", "triggers.http", "triggers.cron", "hub.store.postgres"),
)
_ROOT = Path(__file__).resolve().parents[2]
_DEADLINE_S = 30.0  # no life takes as long; one that does hangs
_LOG_TAIL = 4_000  # characters of a life's log that a failure shows


# ---- what a life sees


class Stage:
    """What the forked process is given."""

    def __init__(self, folder: Path, task: dict[str, Any], pipe: int) -> None:
        self.folder = folder
        self.task = task
        self._pipe = pipe

    def up(self) -> None:
        """Say that the moment has come from which the time until the kill counts."""
        self.tell(up=True)

    def tell(self, **words: Any) -> None:
        """Send a line to the server."""
        os.write(self._pipe, json.dumps(words).encode() + b"\n")


LifeFunction = Callable[[Stage], Coroutine[Any, Any, Any]]

# ---- what a test sees


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a life ended: killed, or by itself with a result."""

    killed: bool
    up: bool  # it said that it was up
    lived_s: float
    result: Any = None


class Lives:
    """The client of one fork server."""

    def __init__(self, *wrapper: str) -> None:
        self._wrapper = wrapper  # a command that runs a command, such as unshare
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Lives:
        command = [*self._wrapper, sys.executable, "-m", "tests.crash.forks"]
        self._server = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._server is not None:
            self._server.communicate()  # the end of its input ends it

    def run(
        self,
        life: LifeFunction,
        folder: Path,
        /,
        *,
        kill_after_s: float | None = None,
        from_birth: bool = False,
        deadline_s: float = _DEADLINE_S,
        **task: Any,
    ) -> Ended:
        """Let one process live in a folder, and return when it is gone.

        `life` is a coroutine function of a module; it gets a `Stage` with `task`. With `kill_after_s` it is killed with SIGKILL that
        long after it said that it is up, or after its birth. Raises: AssertionError with its log when it failed or outlived the deadline.
        """
        answer = self._ask(
            module=life.__module__, life=life.__name__, folder=str(folder), task=task,
            kill_after_s=kill_after_s, from_birth=from_birth, deadline_s=deadline_s,
        )  # fmt: skip
        if answer["status"] not in (0, -signal.SIGKILL) or answer["late"]:
            why = f"hung and was killed after {deadline_s} s" if answer["late"] else f"ended with {answer['status']}"
            raise AssertionError(f"the life {life.__name__} {why}; its log:\n{_log_of(folder)}")
        return Ended(
            killed=answer["status"] == -signal.SIGKILL, up=answer["up"], lived_s=answer["lived_s"], result=answer["result"]
        )

    def begin(self, life: LifeFunction, folder: Path, /, **task: Any) -> int:
        """Let a process live beside others, and return its number at once. Whoever calls this watches over it."""
        return int(self._ask(free=True, module=life.__module__, life=life.__name__, folder=str(folder), task=task)["pid"])

    def status(self, pid: int) -> int | None:
        """Return how a process that has begun here ended: an exit code, or minus the number of a signal; None = it lives."""
        status: int | None = self._ask(reap=pid)["status"]
        return status

    def _ask(self, **order: Any) -> dict[str, Any]:
        if self._server is None or self._server.stdin is None or self._server.stdout is None:
            raise RuntimeError("the fork server runs only inside `with`")
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._server.stdout.readline() or '{"status": "the fork server is gone", "late": false}')
        return answer


def _log_of(folder: Path) -> str:
    log = folder / "node.log"
    return log.read_text(errors="replace")[-_LOG_TAIL:] if log.exists() else "(empty)"


# ---- the server


def serve() -> None:
    """Answer one order a line until the input ends."""
    for name in _WARM:
        importlib.import_module(name)
    gc.freeze()  # what the children share with this process need not be copied
    free: set[int] = set()
    for line in sys.stdin:
        print(json.dumps(_obey(json.loads(line), free)), flush=True)
    for pid in free:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _obey(order: dict[str, Any], free: set[int]) -> dict[str, Any]:
    """Carry out one order; `free` are the processes that live beside it."""
    if "reap" in order:
        pid, status = os.waitpid(order["reap"], os.WNOHANG)
        free.discard(pid)
        return {"status": os.waitstatus_to_exitcode(status) if pid else None}
    if "free" not in order:
        return _let_live(order)
    pid = os.fork()
    if pid == 0:
        _live(order, os.open(os.devnull, os.O_WRONLY))
    free.add(pid)
    return {"pid": pid}


def _let_live(order: dict[str, Any]) -> dict[str, Any]:
    mine, its = os.pipe()
    born_at = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(mine)
        _live(order, its)
    os.close(its)
    answer = _watch(pid, mine, born_at, order)
    os.close(mine)
    _, status = os.waitpid(pid, 0)
    return {**answer, "status": os.waitstatus_to_exitcode(status), "lived_s": time.monotonic() - born_at}


def _watch(pid: int, pipe: int, born_at: float, order: dict[str, Any]) -> dict[str, Any]:
    """Follow a life until it closes its pipe by ending; kill it when its time has come."""
    after_s, late_at = order["kill_after_s"], born_at + order["deadline_s"]
    kill_at = born_at + after_s if after_s is not None and order["from_birth"] else late_at
    seen: dict[str, Any] = {"up": False, "result": None, "late": False}
    heard = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, kill_at - time.monotonic()))
        if not ready:
            seen["late"] = kill_at == late_at
            os.kill(pid, signal.SIGKILL)
            return seen
        chunk = os.read(pipe, 1 << 16)
        if not chunk:
            return seen
        *lines, heard = (heard + chunk).split(b"\n")
        for line in lines:
            seen.update(json.loads(line))
            if seen["up"] and after_s is not None and kill_at == late_at:
                kill_at = time.monotonic() + after_s


def _live(order: dict[str, Any], pipe: int) -> NoReturn:
    """Be the forked process; never returns."""
    status = 1
    try:
        folder = Path(order["folder"])
        log = os.open(folder / "node.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for file, number in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(file, number)
        life = getattr(importlib.import_module(order["module"]), order["life"])
        stage = Stage(folder, order["task"], pipe)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            result = runner.run(life(stage))
        stage.tell(result=result)
        status = 0
    except BaseException:  # whatever it is, the forked process must not go on as a second server
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
