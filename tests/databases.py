"""Empty databases of the newest schema, ready-made: migrating each time would take longer than most tests."""

from __future__ import annotations

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from hub.store import store_for


def empty_database(file: Path) -> Path:
    """Put one in place, unless something is there already; return the same path."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_migrated())
    return file


@cache
def _migrated() -> bytes:
    async def migrate(file: Path) -> None:
        store = store_for(f"sqlite:///{file}")
        await store.open()
        await store.close()

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:  # a thread: the caller may be on an event loop
        file = Path(folder) / "hub.sqlite"
        pool.submit(asyncio.run, migrate(file)).result()
        return file.read_bytes()
