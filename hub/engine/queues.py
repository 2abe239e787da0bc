"""The hub's own queues on this node: who sends into them, who consumes them, and how a consumer learns that there is something.

Implements the ports `QueueDesk` and `Feed`. Every change goes through the committer, so that many messages share a transaction. Invariant:
what was leased for somebody who is not there any more is given back, and what this node cannot give back is taken over when its lease
ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakSet

from hub.core.admission import check_queue_name, nearest_name
from hub.core.clock import Clock
from hub.core.errors import Conflict, NotFound, Unavailable
from hub.core.ids import new_id
from hub.core.model import Page
from hub.core.ports import Store
from hub.core.queues import (
    ConsumerView,
    DeleteQueue,
    Fate,
    LeasedMessage,
    LeaseMessages,
    NewMessage,
    Outgoing,
    PurgeMessages,
    PushMessages,
    QueueQuery,
    QueueRecord,
    QueueView,
    RegisterQueue,
    SettleMessage,
    check_batch,
)
from hub.core.writes import Leased, Outcome, Verdict
from hub.engine.committer import Committer

Node = Callable[[], int | None]  # the number of this node, once it has a lease

POLL_S = 5.0  # without a signal a queue is looked at that often: another node may have sent, or died
STIR_S = 0.05  # so that many messages sent by other nodes cost no more than 20 looks a second at a queue
_PULL_BYTES = 4 * 1024 * 1024  # of one answer to a client


@dataclass(slots=True)
class _Uses:
    """What the project does with a queue."""

    consumers: list[ConsumerView] = field(default_factory=list)
    producers: list[str] = field(default_factory=list)


class Queues:
    """All queues of the hub. `node` tells the number of this node, once it has one."""

    def __init__(self, store: Store, committer: Committer, clock: Clock, node: Node) -> None:
        self._store = store
        self._committer = committer
        self._clock = clock
        self._node = node
        self._uses: defaultdict[str, _Uses] = defaultdict(_Uses)
        self._feeds: defaultdict[str, WeakSet[QueueFeed]] = defaultdict(WeakSet)

    # ---- what the project says

    async def declare(self, name: str, *, consumer: ConsumerView | None = None, producer: str | None = None) -> None:
        """Make a queue that the project uses, if it is not there. Raises: Unavailable."""
        uses = self._uses[name]
        if consumer is not None:
            uses.consumers.append(consumer)
        if producer is not None:
            uses.producers.append(producer)
        await self._committer.submit(RegisterQueue(name=name, at=self._clock.now()), patient=False)

    def feed(self, name: str) -> QueueFeed:
        """Return a queue for one consumer on this node."""
        feed = QueueFeed(name, self._store, self._committer, self._clock, self._node, self._tell)
        self._feeds[name].add(feed)
        return feed

    # ---- the desk

    async def queues(self, query: QueueQuery) -> Page[QueueView]:
        """Return one page of queues, by name."""
        page = await self._store.find(query)
        views = [self._view_of(record.name, record) for record in page.items]
        return Page(items=tuple(views), total=page.total)

    async def queue(self, name: str) -> QueueView:
        """Return one queue. Raises: NotFound with the nearest name."""
        page = await self._store.find(QueueQuery(name=name))
        if not page.items:
            raise await self._unknown(name)
        return self._view_of(name, page.items[0])

    async def create(self, name: str) -> QueueView:
        """Make a queue. Raises: Rejected (bad name), Conflict (there is one)."""
        check_queue_name(name)
        outcome = await self._committer.submit(RegisterQueue(name=name, at=self._clock.now()), patient=False)
        if outcome.verdict is Verdict.DUPLICATE:
            raise Conflict(f'a queue "{name}" exists already', code="queue.already_exists")
        return await self.queue(name)

    async def delete(self, name: str) -> None:
        """Forget a queue with its messages. Raises: NotFound, Conflict (the project uses it)."""
        if name in self._uses:
            raise Conflict(f'the project uses the queue "{name}"; take it out of hub.toml first', code="queue.in_use")
        outcome = await self._committer.submit(DeleteQueue(name=name), patient=False)
        if outcome.verdict is Verdict.MISSING:
            raise await self._unknown(name)

    async def push(self, name: str, messages: Sequence[Outgoing]) -> Sequence[str]:
        """Put messages into a queue in one commit; return their ids. Raises: NotFound, Rejected, PayloadTooLarge, Unavailable."""
        check_batch(messages)
        now = self._clock.now()
        new = tuple(
            NewMessage(
                id=message.id or new_id(now),
                body=message.body,
                content_type=message.content_type,
                visible_at=now + (message.delay or timedelta(0)),
            )
            for message in messages
        )
        await self._committer.room()
        outcome = await self._committer.submit(PushMessages(queue=name, messages=new, at=now), patient=False)
        if outcome.verdict is Verdict.MISSING:
            raise await self._unknown(name)
        self._tell(name, min(message.visible_at for message in new))
        return [message.id for message in new]

    async def pull(self, name: str, limit: int, hold: timedelta) -> Sequence[LeasedMessage]:
        """Take messages for a client, which holds them for that time. Raises: NotFound, Unavailable."""
        await self._exists(name)
        now = self._clock.now()
        wish = LeaseMessages(queue=name, limit=limit, body_bytes=_PULL_BYTES, at=now, until=now + hold)
        messages = _messages(await self._committer.submit(wish, patient=False))
        if messages:
            self._tell(name, now + hold)
        return messages

    async def settle(self, name: str, done: Sequence[tuple[int, int]], again: Sequence[tuple[int, int, timedelta]]) -> tuple[int, int]:
        """Settle messages that a client holds; return how many it still held, of each kind. Raises: NotFound, Unavailable."""
        await self._exists(name)
        now = self._clock.now()
        writes = [SettleMessage(key=key, lease=lease, fate=Fate.DONE, at=now) for key, lease in done]
        writes += [
            SettleMessage(key=key, lease=lease, fate=Fate.AGAIN, at=now, visible_at=now + delay) for key, lease, delay in again
        ]
        outcomes = await asyncio.gather(*(self._committer.submit(write, patient=False) for write in writes))
        applied = [outcome.verdict is Verdict.APPLIED for outcome in outcomes]
        if again:
            self._tell(name, now + min(delay for _, _, delay in again))
        return sum(applied[: len(done)]), sum(applied[len(done) :])

    async def purge(self, name: str) -> int:
        """Delete all messages of a queue; return how many there were. Raises: NotFound, Unavailable."""
        outcome = await self._committer.submit(PurgeMessages(queue=name), patient=False)
        if outcome.verdict is Verdict.MISSING:
            raise await self._unknown(name)
        return outcome.count

    # ---- pieces

    def stir(self) -> None:
        """Let all consumers on this node look at their queues soon: another node has sent something, nobody says where."""
        at = self._clock.now() + timedelta(seconds=STIR_S)
        for feeds in self._feeds.values():
            for feed in feeds:
                feed.expect(at)

    def _tell(self, name: str, at: datetime) -> None:
        """Tell the consumers on this node that a message is due at a time."""
        for feed in self._feeds[name]:
            feed.expect(at)

    def _view_of(self, name: str, record: QueueRecord) -> QueueView:
        uses = self._uses.get(name) or _Uses()
        return QueueView(record=record, consumers=tuple(uses.consumers), producers=tuple(uses.producers))

    async def _exists(self, name: str) -> None:
        if not (await self._store.find(QueueQuery(name=name, counts=False))).items:
            raise await self._unknown(name)

    async def _unknown(self, name: str) -> NotFound:
        known = (await self._store.find(QueueQuery(limit=1000, counts=False))).items
        hint = nearest_name(name, [record.name for record in known])
        return NotFound(f'queue "{name[:64]}" not found{hint}', code="queue.not_found")


class QueueFeed:
    """A queue as one consumer on this node has it (`hub.core.queues.Feed`)."""

    def __init__(
        self, queue: str, store: Store, committer: Committer, clock: Clock, node: Node, tell: Callable[[str, datetime], None]
    ) -> None:
        self._queue = queue
        self._store = store
        self._committer = committer
        self._clock = clock
        self._node = node
        self._tell = tell
        self._due_at: datetime | None = None  # of the first message that the last `lease` has not seen
        self._news = asyncio.Event()

    def expect(self, at: datetime) -> None:
        """Note that a message is due at a time."""
        if self._due_at is None or at < self._due_at:
            self._due_at = at
            self._news.set()

    async def lease(self, limit: int, body_bytes: int) -> Sequence[LeasedMessage]:
        """Take messages that are due; see `Feed.lease`."""
        node = self._node()
        if node is None:
            raise Unavailable("this node has no lease yet")
        self._due_at = None
        wish = LeaseMessages(queue=self._queue, limit=limit, body_bytes=body_bytes, at=self._clock.now(), node=node)
        future = self._committer.submit(wish, patient=False)
        try:
            leased = await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(self._give_back)  # nobody else knows of what it takes
            raise
        if isinstance(leased, Leased) and leased.next_at is not None:
            self.expect(leased.next_at)
        return _messages(leased)

    async def settle(self, message: LeasedMessage, fate: Fate, *, delay: timedelta = timedelta(0), to: str | None = None) -> bool:
        """Say what becomes of a message; see `Feed.settle`. A store that is away is waited for, unless nothing is lost without."""
        try:
            outcome = await asyncio.shield(self._settle(message, fate, delay, to))
        except Unavailable:  # the message is delivered again when the lease of this node ends
            return False
        if outcome.verdict is Verdict.APPLIED and fate is not Fate.DONE:
            self._tell(self._queue if to is None else to, self._clock.now() + delay)
        return outcome.verdict is Verdict.APPLIED

    async def news(self) -> None:
        """Return when a message may be due that `lease` has not seen, or after `POLL_S`."""
        end = self._clock.now() + timedelta(seconds=POLL_S)
        while True:
            due = end if self._due_at is None else min(self._due_at, end)
            rest_s = (due - self._clock.now()).total_seconds()
            if rest_s <= 0:
                return
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest_s):  # `wait_for` of Python 3.11 may swallow a cancellation when there is news
                    await self._news.wait()

    async def waiting(self) -> int:
        """Return how many messages nobody holds."""
        page = await self._store.find(QueueQuery(name=self._queue))
        return page.items[0].waiting if page.items else 0

    def _settle(self, message: LeasedMessage, fate: Fate, delay: timedelta, to: str | None = None) -> asyncio.Future[Outcome]:
        now = self._clock.now()
        write = SettleMessage(key=message.key, lease=message.lease, fate=fate, at=now, visible_at=now + delay, to=to)
        return self._committer.submit(write, patient=fate is not Fate.BACK)  # without an answer the message comes back anyhow

    def _give_back(self, future: asyncio.Future[Outcome]) -> None:
        """Give back what was leased for somebody who was cancelled meanwhile."""
        if future.cancelled() or future.exception() is not None:
            return
        for message in _messages(future.result()):
            self._settle(message, Fate.BACK, timedelta(0)).add_done_callback(_look_at)
        self._tell(self._queue, self._clock.now())


def _messages(outcome: Outcome) -> Sequence[LeasedMessage]:
    return outcome.messages if isinstance(outcome, Leased) else ()


def _look_at(future: asyncio.Future[Outcome]) -> None:
    """Take note of a failure that nobody waits for: the lease of the node ends, and the message comes again."""
    if not future.cancelled():
        future.exception()
