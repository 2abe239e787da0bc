"""Faults in front of the real store: the process kills itself before or after a chosen transaction.

Everything else is passed on to the store behind it. Invariant: "before" dies when nothing of the transaction has been handed to the
store, "after" when it is committed and nobody has been told.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from hub.core.model import Snapshot, Status
from hub.core.nodes import NodeAbout, Workflows
from hub.core.ports import Store
from hub.core.writes import Outcome, Write

T = TypeVar("T")

BEFORE, AFTER = "before", "after"
SIDES = (BEFORE, AFTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Which transaction is the last one: the `at`-th (from 1) of those that contain a write of that kind; "" = none is."""

    kind: str = ""
    at: int = 1
    side: str = BEFORE


class FaultyStore:
    """A `Store` that counts the transactions of another one and dies at one of them."""

    def __init__(self, store: Store, fault: Fault, grave: Path) -> None:
        self.seen: Counter[str] = Counter()  # transactions by kind
        self._store = store
        self._fault = fault
        self._grave = grave  # the file that names the transaction after the death

    async def open(self) -> None:
        """See `Store.open`."""
        await self._store.open()

    async def close(self) -> None:
        """See `Store.close`."""
        await self._store.close()

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """See `Store.apply`."""
        return await self._transaction(lambda: self._store.apply(writes), *sorted({type(write).__name__ for write in writes}))

    async def renew(self, node: int | None, ttl: timedelta, now: datetime, about: NodeAbout | None = None) -> int:
        """See `Store.renew`."""
        kind = "register" if node is None else "renew" if ttl else "giveBack"
        return await self._transaction(lambda: self._store.renew(node, ttl, now, about), kind)

    async def claim(self, node: int, limit: int, now: datetime, workflows: Workflows = None) -> list[Snapshot]:
        """See `Store.claim`."""
        return await self._transaction(lambda: self._store.claim(node, limit, now, workflows), "claim")

    async def prune(
        self, now: datetime, limit: int, deliveries_kept: timedelta | None = None, messages_kept: timedelta | None = None
    ) -> int:
        """See `Store.prune`."""
        return await self._transaction(lambda: self._store.prune(now, limit, deliveries_kept, messages_kept), "prune")

    async def load(self, instance: int) -> Snapshot | None:
        """See `Store.load`."""
        return await self._store.load(instance)

    async def next_due(self, now: datetime, workflows: Workflows = None) -> datetime | None:
        """See `Store.next_due`."""
        return await self._store.next_due(now, workflows)

    async def find(self, query: Any) -> Any:
        """See `Store.find`."""
        return await self._store.find(query)

    async def counts(self) -> Mapping[Status, int]:
        """See `Store.counts`."""
        return await self._store.counts()

    def signals(self) -> AsyncIterator[int]:
        """See `Store.signals`."""
        return self._store.signals()

    async def _transaction(self, run: Callable[[], Awaitable[T]], *kinds: str) -> T:
        self.seen.update(kinds)
        chosen = self._fault.kind in kinds and self.seen[self._fault.kind] == self._fault.at
        if chosen and self._fault.side == BEFORE:
            self._die(kinds)
        result = await run()
        if chosen:
            self._die(kinds)
        return result

    def _die(self, kinds: Sequence[str]) -> NoReturn:
        self._grave.write_text(" ".join(kinds))
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process goes on")
