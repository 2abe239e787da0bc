"""One node after the other on one file, in one process: a loop that decides by a seed how long the disk takes, and a store that dies.

A death is abrupt: from then on the store answers nobody, every task of the node is cancelled, and what is on disk stays as it is. The
invariant: the same seed gives the same run, turn by turn.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from hub.core.model import Snapshot
from hub.core.nodes import NodeAbout, Workflows
from hub.core.ports import Store
from hub.core.writes import Finish, Outcome, Write
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.runner import RunnerOptions
from hub.store import store_for
from hub.testing import VirtualClock, VirtualLoop

from .plain import Entry, OnDisk

T = TypeVar("T")

BEFORE, AFTER, STOP, DEATH, CIRCLE = "before", "after", "stop", "death", "circle"
ENDLESS = 1000  # a life with more transactions than that goes round in a circle


class SeededLoop(VirtualLoop):
    """A loop of virtual time without true concurrency: work of threads is done at once, and its result comes when the seed says so."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._answered: dict[Any, float] = {}
        super().__init__()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Do the work now; the answers of one executor come in order."""
        future = self.create_future()
        try:
            result, error = func(*args), None
        except Exception as raised:
            result, error = None, raised
        when = self.time() + self._rng.choice((0.0, 0.0, 0.000_2, 0.001))
        when = self._answered[executor] = max(when, self._answered.get(executor, 0.0))
        self.call_at(when, _answer, future, result, error)
        return future


def _answer(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


@dataclass(frozen=True, slots=True)
class Fault:
    """How a life ends: at its transaction number `at`, before or after the commit; or by a stop, and perhaps a death while it stops."""

    at: int
    how: str
    of: str = ""  # count only transactions with such a write, as `_name` says it
    then: int = 0  # of a stop: die after that many more transactions, 0 = never
    down_s: float = 0.0


class MortalStore:
    """A store that ends as the fault says. All that it does not say itself is the real store's."""

    def __init__(self, store: Store, fault: Fault | None) -> None:
        self.fate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.finished: set[int] = set()
        self.over = asyncio.Event()  # an instance has ended
        self.met: Counter[str] = Counter()  # how it died, and what the transaction was that it died at
        self._never = asyncio.Event()
        self._store = store
        self._fault = fault
        self._left = -1 if fault is None else fault.at
        self._all = 0
        self._spared = self._dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def port(self) -> Store:
        """The same as the port that it is."""
        return cast("Store", self)

    def spare(self) -> None:
        """Forget the fault, also of a transaction that is under way: what was to be seen has been seen."""
        self._spared = True

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """See `Store.apply`."""
        outcomes = await self._transaction(set(map(_name, writes)), lambda: self._store.apply(writes))
        ended = {write.instance for write in writes if isinstance(write, Finish)}
        if ended:
            self.finished |= ended
            self.over.set()
        return outcomes

    async def renew(self, node: int | None, ttl: timedelta, now: datetime, about: NodeAbout | None = None) -> int:
        """See `Store.renew`."""
        return await self._transaction({"renew"}, lambda: self._store.renew(node, ttl, now, about))

    async def claim(self, node: int, limit: int, now: datetime, workflows: Workflows = None) -> list[Snapshot]:
        """See `Store.claim`."""
        return await self._transaction({"claim"}, lambda: self._store.claim(node, limit, now, workflows))

    async def _transaction(self, kinds: set[str], run: Callable[[], Awaitable[T]]) -> T:
        if self._dead:
            await self._never.wait()
        how = self._due(kinds)
        if how == BEFORE:
            await self._die(how, kinds)
        result = await run()
        if how == AFTER and not self._spared:
            await self._die(how, kinds)
        if self._dead:
            await self._never.wait()
        return result

    def _due(self, kinds: set[str]) -> str:
        """Return how this transaction ends the life, if it does; a stop only begins its end."""
        self._all += 1
        if self._all > ENDLESS and not self.fate.done():
            self.fate.set_result(CIRCLE)
        fault = self._fault
        if fault is None or self._spared or self._left <= 0 or (fault.of and fault.of not in kinds):
            return ""
        self._left -= 1
        if self._left > 0:
            return ""
        if fault.how != STOP:
            return fault.how
        self.fate.set_result(STOP)
        self._left = fault.then
        self._fault = Fault(fault.then, AFTER)
        return ""

    async def _die(self, how: str, kinds: set[str]) -> None:
        self._dead = True
        stopping = self.fate.done()
        if not stopping:
            self.fate.set_result(DEATH)
        how = f"{how} while it stopped" if stopping else how
        self.met.update({f"death {how}": 1} | {f"death {how}: {kind}": 1 for kind in kinds})
        self.over.set()
        await self._never.wait()

    @property
    def dead(self) -> bool:
        """Whether it answers nobody any more."""
        return self._dead


def _name(write: Write) -> str:
    """Return what a write is, with the kind of its journal entry."""
    entry = getattr(write, "entry", None)
    return type(write).__name__ + ("" if entry is None else f" {entry.kind}")


class Heard:
    """A log that keeps the errors: whatever happens to a node, it says none."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def debug(self, event: str, **pairs: Any) -> None: ...
    def info(self, event: str, **pairs: Any) -> None: ...
    def warning(self, event: str, **pairs: Any) -> None: ...

    def error(self, event: str, **pairs: Any) -> None:
        """Keep it."""
        self.errors.append(f"{event} {pairs}")


class Node:
    """One life of the hub on a file."""

    def __init__(
        self, file: Path, clock: VirtualClock, definitions: Sequence[Definition], options: RunnerOptions, fault: Fault | None
    ) -> None:
        self._real = store_for(f"sqlite:///{file}")
        self.log = Heard()
        self.store = MortalStore(self._real, fault)
        self.engine = EmbeddedEngine(self.store.port, clock, self.log, definitions, options)

    async def vanish(self) -> None:
        """Be gone: nothing of this life runs any more, nothing more is written. Raises: RuntimeError for a task that cannot be ended."""
        me = asyncio.current_task()
        for _ in range(100):
            others = asyncio.all_tasks() - {me}
            if not others:
                break
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=1)
        else:
            raise RuntimeError(f"cancelled a hundred times, and still there: {asyncio.all_tasks() - {me}}")
        self.engine.threads.close()
        await self._real.close()


def read_journal(file: Path) -> dict[Entry, OnDisk]:
    """Read with plain SQL what is on disk of every entry."""
    with closing(sqlite3.connect(file)) as db:
        found = db.execute(
            "SELECT i.id, s.kind, s.name, s.count, s.state, coalesce(s.attempt, 1) FROM step s JOIN instance i ON i.key = s.instance"
        )
        return {(id, kind, name, count): OnDisk(state, attempt) for id, kind, name, count, state, attempt in found}


def holds_text(file: Path, text: str) -> bool:
    """Whether a text is in an inbox or in the result of a step."""
    with closing(sqlite3.connect(file)) as db:
        found = db.execute(
            "SELECT (SELECT count(*) FROM inbox WHERE instr(payload, ?1) > 0) + (SELECT count(*) FROM step WHERE instr(output, ?1) > 0)",
            (text.encode(),),
        )
        return bool(found.fetchone()[0])


def unconsumed(file: Path) -> list[tuple[str, str]]:
    """Return the events that nobody has taken: instance and payload."""
    with closing(sqlite3.connect(file)) as db:
        found = db.execute("SELECT i.id, x.payload FROM inbox x JOIN instance i ON i.key = x.instance ORDER BY 1, 2")
        return [(id, bytes(payload).decode()) for id, payload in found]
