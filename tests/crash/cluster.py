"""A cluster under test: several nodes of one project as processes, each of which may be killed, frozen, stopped and started again.

What is done to a node is in the ledger of the project, so that it has a place among what the nodes have noted. Invariant: `killed` is noted
when nothing of that life can happen any more, `frozen` when nothing happens, `thawed` before anything can happen again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

from hub.core.clock import SystemClock

from .cluster_project import LEDGER, TELL_TASKS, serve
from .forks import Lives
from .ledger import Ledger

_PATIENCE_S = 30.0  # only how long a broken node may keep the tests waiting
_LOOK_S = 0.01
_LOG_TAIL = 12_000
clock = SystemClock()


@dataclass(slots=True, kw_only=True)
class Node:
    """One place of the cluster; a process lives there, or none does."""

    name: str
    folder: Path
    port: int
    pid: int | None = None
    life: str = ""
    lives: int = 0
    frozen: bool = False

    @property
    def url(self) -> str:
        """The address, whether somebody answers there or not."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def working(self) -> bool:
        """Whether a process lives here and is not frozen; it may not be ready yet."""
        return self.pid is not None and not self.frozen

    def log(self) -> str:
        """Return the end of what its processes have logged."""
        file = self.folder / "node.log"
        return file.read_text(errors="replace")[-_LOG_TAIL:] if file.exists() else "(empty)"


@dataclass(slots=True, kw_only=True)
class Cluster:
    """The nodes of one project, as many as `size`; none lives yet."""

    lives: Lives
    folder: Path
    project: Path
    size: int = 3
    nodes: list[Node] = field(init=False)
    _ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = [Node(name=f"n{n + 1}", folder=self.folder / f"n{n + 1}", port=_free_port()) for n in range(self.size)]
        for node in self.nodes:
            node.folder.mkdir()
        self._ledger = Ledger(self.folder / LEDGER)

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes:
            self.kill(node)
        self._ledger.close()

    @property
    def working(self) -> list[Node]:
        """The nodes on which a process lives and is not frozen."""
        return [node for node in self.nodes if node.working]

    def start(self, node: Node) -> None:
        """Let a process live on a node; returns at once."""
        node.lives += 1
        node.life = f"{node.name}.{node.lives}"
        node.pid = self.lives.begin(serve, node.folder, project=str(self.project), port=node.port, life=node.life)

    async def start_all(self) -> None:
        """Let a process live on every node; returns when all are ready."""
        for node in self.nodes:
            if node.frozen:
                self.thaw(node)
            if node.pid is None:
                self.start(node)
        for node in self.nodes:
            await self.ready(node)

    async def ready(self, node: Node) -> None:
        """Return when a node takes requests. Raises: AssertionError with its log when it has died or hangs."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while node.pid is not None and self.lives.status(node.pid) is None:
                    if await _answers(node.port):
                        return
                    await clock.sleep(_LOOK_S)
                node.pid = None
        raise AssertionError(f"{node.name} is not ready; its log:\n{node.log()}")

    def kill(self, node: Node) -> None:
        """Kill what lives on a node; returns when it is gone."""
        if node.pid is None:
            return
        os.kill(node.pid, signal.SIGKILL)
        while self.lives.status(node.pid) is None:
            os.sched_yield()
        self._ledger.note("killed", node.life)
        node.pid, node.frozen = None, False

    async def stop(self, node: Node) -> list[str]:
        """Ask what lives on a node to stop; return what was wrong with its end when it is gone."""
        assert node.pid is not None
        os.kill(node.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while (status := self.lives.status(node.pid)) is None:
                    await clock.sleep(_LOOK_S)
        except TimeoutError:
            os.kill(node.pid, TELL_TASKS)
            await clock.sleep(1.0)
            self.kill(node)
            return [f"{node.life} has not stopped; its log:\n{node.log()}"]
        self._ledger.note("killed", node.life)
        node.pid = None
        return [f"{node.life} ended with {status}; its log:\n{node.log()}"] if status else []

    def freeze(self, node: Node) -> None:
        """Make a process stand still in the middle of what it does."""
        assert node.pid is not None
        os.kill(node.pid, signal.SIGSTOP)
        stat = Path(f"/proc/{node.pid}/stat")
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "Tt":
            os.sched_yield()
        node.frozen = True
        self._ledger.note("frozen", node.life)

    def thaw(self, node: Node) -> None:
        """Let a process go on that knows nothing of the time that it has missed."""
        assert node.pid is not None
        self._ledger.note("thawed", node.life)
        node.frozen = False
        os.kill(node.pid, signal.SIGCONT)


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
