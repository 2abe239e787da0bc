"""What the nodes on one PostgreSQL database signal to each other, by LISTEN and NOTIFY; and the polling that finds what they do not.

A notification is sent after its transaction, so it may be lost with its sender: polling is the truth, and notifications only make it quick.
Without them everything works, later.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice
from typing import Any

import asyncpg

from hub.core.nodes import SOMETHING_CHANGED, SOMETHING_DUE
from hub.store.postgres_address import LOST
from hub.store.signals import Signals

_CHANNEL = "hub"
_TOGETHER_S = 0.005  # what is to be told within this is told at once
_MOST = 380  # keys a notification: of 20 digits and a comma each, they fit into the 8,000 bytes that the server takes
_AGAIN_S = 0.5  # after the line was lost
_PATIENCE_S = 10.0  # with the server, before the line counts as lost
_POLL_S, _POLL_ALONE_S = 2.0, 0.5  # with notifications, and without
_NEWS = """
SELECT key FROM instance i WHERE node = $1 AND ended_at IS NULL
AND (wish IS NOT NULL OR EXISTS (SELECT 1 FROM inbox e WHERE e.instance = i.key))
"""


class Line:
    """The line of this process to the others. `node` is whose instances are polled; None = none."""

    def __init__(self, url: str, signals: Signals, *, listen: bool, patience_s: float = _PATIENCE_S) -> None:
        self.node: int | None = None
        self._url = url
        self._signals = signals
        self._listen = listen
        self._patience_s = patience_s
        self._turn = asyncio.Lock()  # the connection asks one thing at a time
        self._untold: dict[int, None] = {}
        self._news = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen and to poll; returns at once."""
        self._loop = asyncio.create_task(self._keep(), name="postgres-signals")

    async def stop(self) -> None:
        """Tell what is untold, then hang up."""
        if self._loop is None:
            return
        for _ in range(50):
            if not self._untold:
                break
            await asyncio.sleep(_TOGETHER_S)
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)

    def tell(self, keys: set[int]) -> None:
        """Let the other nodes know soon that these keys were touched."""
        if self._listen:
            self._untold.update(dict.fromkeys(keys))
            self._news.set()

    async def _keep(self) -> None:
        while True:
            with suppress(*LOST):
                await self._connected()
            await asyncio.sleep(_AGAIN_S)

    async def _connected(self) -> None:
        settings = {"synchronous_commit": "off", "application_name": "hub signals"}  # a notification need not reach the disk
        db = await asyncpg.connect(self._url, timeout=self._patience_s, server_settings=settings, command_timeout=self._patience_s)
        try:
            if self._listen:
                await db.add_listener(_CHANNEL, self._hear)
            self._signals.feed([SOMETHING_DUE, SOMETHING_CHANGED])  # what was told while the line was down is lost
            telling = asyncio.create_task(self._tell(db), name="postgres-telling")
            try:
                await self._poll(db, telling)
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
        finally:
            db.terminate()

    async def _poll(self, db: Any, telling: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[None] = loop.create_future()
        db.add_termination_listener(lambda _: None if lost.done() else lost.set_result(None))
        while not lost.done() and not telling.done():  # one that can tell no more is as good as lost
            async with self._turn:
                found = await db.fetch(_NEWS, self.node)  # also without a node: a line that nobody uses is not seen to be cut
            self._signals.feed([row[0] for row in found])
            await asyncio.wait({lost, telling}, return_when=asyncio.FIRST_COMPLETED, timeout=_POLL_S if self._listen else _POLL_ALONE_S)

    async def _tell(self, db: Any) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(_TOGETHER_S)
            while self._untold:
                told = list(islice(self._untold, _MOST))
                async with self._turn:
                    await db.execute("SELECT pg_notify($1, $2)", _CHANNEL, ",".join(map(str, told)))
                for key in told:
                    self._untold.pop(key, None)

    def _hear(self, db: Any, sender: int, channel: str, payload: str) -> None:
        if sender != db.get_server_pid():
            self._signals.feed([int(key) for key in payload.split(",")])
