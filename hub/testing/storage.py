"""The store under a test: a real one, in a folder that lasts as long as the test, and observed.

Owns the temporary folder and the ready-made database file, which saves each test the migrations. Invariant: what a test sees in it was
written by the hub's own store.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from hub.core.ports import Store
from hub.core.writes import Outcome, Write
from hub.store import store_for

_MEMORY = Path("/dev/shm")  # where the system has it: a sync costs nothing there  # noqa: S108  # only the parent of a private folder
_FILE = "hub.sqlite"
_migrated: dict[str, bytes] = {}  # one entry; the same in every test of a process


class Observed:
    """A store that tells of changes. All that it does not say itself is the store's own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changes = 0
        self._waiting: list[asyncio.Future[None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def port(self) -> Store:
        """The same as the port that it is."""
        return cast("Store", self)

    @property
    def changes(self) -> int:
        """How often it has changed."""
        return self._changes

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Apply writes; see `Store.apply`."""
        outcomes = await self._store.apply(writes)
        self._changed()
        return outcomes

    async def changed_since(self, changes: int) -> None:
        """Return when it has changed more often than that."""
        if self._changes == changes:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def _changed(self) -> None:
        self._changes += 1
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


@asynccontextmanager
async def temporary_store() -> AsyncIterator[Store]:
    """Make an empty store, not yet opened, which is gone at the end."""
    parent = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hub-test-", dir=parent) as folder:
        file = Path(folder) / _FILE
        if _FILE not in _migrated:
            first = store_for(f"sqlite:///{file}")
            await first.open()
            await first.close()
            _migrated[_FILE] = file.read_bytes()
        else:
            file.write_bytes(_migrated[_FILE])
        yield store_for(f"sqlite:///{file}")
