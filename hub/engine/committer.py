"""Group commit. Owns the order of writes; knows nothing of what they mean.

A future handed out by `submit` resolves only after its transaction is on disk. There is no timer: the first write opens a group, and
what arrives while the disk is busy forms the next one. Writes commit in the order of `submit`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from hub.core.clock import Clock
from hub.core.current import CURRENT
from hub.core.errors import Rejected, Unavailable
from hub.core.ports import Log, Store
from hub.core.writes import Outcome, Verdict, Write

GROUP = 1024  # larger groups gain nothing more from the shared fsync and make the first waiter wait longer
BACKLOG = 10_000  # intake waits beyond this many queued writes: the back-pressure that triggers feel
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0  # between two tries on a store that is away
PATIENCE_S = 3.0  # with a store that neither answers nor fails, as during a commit whose connection was lost
STOPPING_S = 10.0  # the same, of a hub that stops


Then = Callable[[Outcome | None], None]
_SILENT = "the store does not answer; the fate of an earlier write is not known yet"
_Item = tuple[Write, "asyncio.Future[Outcome]", bool, Then | None]  # a plain tuple: one is made for every write


class Committer:
    """Turns many concurrent writes into few transactions."""

    def __init__(self, store: Store, clock: Clock, log: Log, *, patience_s: float = PATIENCE_S, stopping_s: float = STOPPING_S) -> None:
        self._store = store
        self._patience_s, self._stopping_s = patience_s, stopping_s
        self._clock = clock
        self._log = log
        self._queue: deque[_Item] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # on which it runs, from the first write on
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self._stuck = False  # the store has not answered for longer than impatient writes wait

    def submit(self, write: Write, *, patient: bool = True, then: Then | None = None) -> asyncio.Future[Outcome]:
        """Queue a write; the future is its outcome.

        A patient write waits for a store that is away, for as long as that takes, and keeps its place: executions use it, because a
        step's result must not be lost. An impatient one fails with Unavailable, and nothing was written then; so it does when the store
        has been silent for some seconds before it was handed in.
        `then` is called with the outcome before anybody who awaits the future goes on, also when the future has been cancelled; with None
        when the write has failed. It must not raise.
        Raises in the future: Unavailable, or Rejected for a value that the store can never hold.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        if self._closed:
            _fail((write, future, patient, then), Unavailable("the hub is stopping"))
            return future
        if self._stuck and not patient:
            _fail((write, future, patient, then), Unavailable(_SILENT))
            return future
        self._queue.append((write, future, patient, then))
        if len(self._queue) >= BACKLOG:
            self._room.clear()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run(), name="committer")
        return future

    @property
    def full(self) -> bool:
        """Whether intake has to wait for `room`."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Return when intake may submit."""
        await self._room.wait()

    async def flush(self) -> None:
        """Return when everything submitted so far has its outcome."""
        while self._pump is not None and not self._pump.done():
            await asyncio.wait({self._pump})

    async def close(self) -> None:
        """Take no more writes and commit what is queued; what a store that is away or silent cannot take is given up."""
        self._closed = True
        if self._pump is not None:
            _, silent = await asyncio.wait({self._pump}, timeout=self._stopping_s)
            for pump in silent:
                pump.cancel()
            await asyncio.gather(*silent, return_exceptions=True)

    async def _run(self) -> None:
        CURRENT.set(None)  # of the task: a step may have handed in the first write, but not what is logged here
        pause = _FIRST_PAUSE_S
        while self._queue:
            group = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
            patience = asyncio.get_running_loop().call_later(self._patience_s, self._lose_patience)
            try:
                outcomes = await self._store.apply([item[0] for item in group])
            except asyncio.CancelledError:
                for item in (*group, *self._queue):
                    _fail(item, Unavailable(_SILENT))
                self._queue.clear()
                raise
            except Unavailable as error:
                self._give_back(group, error)
                if self._queue:
                    self._log.warning("store.unavailable", error=error.message, waiting=len(self._queue), retry_in_s=pause)
                    await self._clock.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_S)
            except Exception as error:  # a defect of the store: these writes fail, the next group gets its own chance
                self._log.error("store.failed", error=f"{type(error).__name__}: {error}", writes=len(group))
                for item in group:
                    _fail(item, error)
            else:
                pause = _FIRST_PAUSE_S
                _resolve(group, outcomes)
            finally:
                patience.cancel()
                self._stuck = False
            if len(self._queue) < BACKLOG:
                self._room.set()

    def _lose_patience(self) -> None:
        """Fail the impatient writes that wait behind a group which the store does not answer; that group itself waits for its outcome."""
        self._stuck = True
        waiting, self._queue = self._queue, deque()
        for item in waiting:
            if item[2]:
                self._queue.append(item)
            else:
                _fail(item, Unavailable(_SILENT))
        self._room.set()

    def _give_back(self, group: list[_Item], error: Unavailable) -> None:
        """Fail the impatient writes; put the patient ones back in front, in their order, unless the hub is closing."""
        patient: list[_Item] = []
        for item in group:
            if item[2] and not self._closed:
                patient.append(item)
            else:
                _fail(item, error)
        self._queue.extendleft(reversed(patient))


def _resolve(group: list[_Item], outcomes: list[Outcome]) -> None:
    for item, outcome in zip(group, outcomes, strict=True):
        _, future, _, then = item
        if outcome.verdict is Verdict.POISON:
            _fail(item, Rejected(f"the store cannot hold that: {outcome.reason}", code="store.poison"))
            continue
        if then is not None:
            then(outcome)
        if not future.done():
            future.set_result(outcome)


def _fail(item: _Item, error: Exception) -> None:
    _, future, _, then = item
    if then is not None:
        then(None)
    if not future.done():
        future.set_exception(error)
