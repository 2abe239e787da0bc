"""The port `Store`, the same for every database: which program each method runs.

Knows no database: an adapter inherits from it and says how programs are committed and read. Another database needs that and no more.
"""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from hub.core.access import Token, TokenQuery
from hub.core.audit import AuditEntry, AuditQuery
from hub.core.delivery import Delivery, DeliveryQuery, TriggerQuery, TriggerRecord
from hub.core.errors import ConfigError, HubError, Unavailable
from hub.core.history import HistoryEvent, HistoryQuery
from hub.core.logs import LogQuery, StoredLine
from hub.core.model import (
    InboxEvent,
    InboxQuery,
    Instance,
    InstanceQuery,
    Page,
    Snapshot,
    Status,
    Version,
    VersionQuery,
    WorkflowQuery,
    WorkflowRecord,
)
from hub.core.nodes import SOMETHING_SENT, NodeAbout, NodeQuery, NodeRecord, Workflows
from hub.core.queues import QueueQuery, QueueRecord
from hub.core.writes import Outcome, Write
from hub.store import claiming, nodes, reading, writing
from hub.store.program import Program
from hub.store.queries import Query, answer_to
from hub.store.schema import OURS, Moved, Schema
from hub.store.signals import Signals, Subscription
from hub.store.totals import Totals

T = TypeVar("T")
Make = Callable[[], Program[T]]  # makes a program anew for every try


class DatabaseStore(ABC):
    """The port `Store` on a database. Open it on the event loop that uses it."""

    def __init__(self, schema: Schema = OURS) -> None:
        self._schema = schema
        self._too_old: ConfigError | None = None  # this hub, for the database: another one has upgraded it meanwhile
        self._signals = Signals()
        self._totals = Totals()
        self._alone = False  # whether no other node can be alive: true of a database that only one hub opens, until it registers

    @abstractmethod
    async def open(self) -> None:
        """Connect, and migrate as far as other hubs that are alive allow; see `Store.open`."""

    @abstractmethod
    async def upgrade(self) -> Moved:
        """Bring a database that is not open to the newest schema, also where that ends the work of older hubs.

        Raises: ConfigError when such a hub is alive, or as `open`; nothing was changed.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish what was handed in, end the signals, disconnect. Safe twice."""

    @abstractmethod
    async def _commit(self, make: Make[T], then: Callable[[T], None] | None = None) -> T:
        """Run a program in one transaction; what it did is on disk when this returns, and `then` was called on the event loop before.

        Once begun, it is brought to its end even when the caller is cancelled. Raises: Unavailable (nothing was written), or what the
        database says of a value that it does not take, or what the program raises; all is undone then.
        """

    @abstractmethod
    async def _read(self, make: Make[T]) -> T:
        """Run a program that reads; all its statements see one moment. Raises: Unavailable, or what the program raises."""

    def _tell(self, keys: set[int]) -> None:
        """Signal what a transaction has touched; of what it has sent this process is told by whoever sends."""
        if keys:
            self._signals.feed(keys - {SOMETHING_SENT})

    # ---- writing

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Apply writes in one transaction; see `Store.apply`.

        Signals of the group are out before this returns. A write that the database can never keep is answered with `POISON`, and the
        others are on disk. Once handed in, a group is applied even when the caller is cancelled. Raises: Unavailable: nothing was written.
        """
        if not writes:
            return []
        if self._too_old is not None:
            raise Unavailable(self._too_old.message)
        try:
            outcomes, _ = await self._commit(lambda: writing.apply(writes), self._tell_all)
        except HubError:
            raise
        except Exception:
            outcomes, _ = await self._commit(lambda: writing.apply_each(writes), self._tell_all)
        return outcomes

    async def renew(self, node: int | None, ttl: timedelta, now: datetime, about: NodeAbout | None = None) -> int:
        """Register this process (None) or renew its lease; return its number, a new one when the old is forgotten.

        Raises: ConfigError when a newer hub has upgraded the database, and this one is too old for it: it writes nothing more.
        """
        schema = self._schema.number
        if node is not None and await self._commit(lambda: claiming.renew_node(node, ttl, now, schema)):
            return node
        info = nodes.about_text(replace(about or NodeAbout(host=socket.gethostname(), pid=os.getpid()), schema=schema))
        alone = self._alone
        try:
            number = await self._commit(lambda: claiming.register_node(ttl, now, info, schema=schema, alone=alone))
        except ConfigError as error:
            self._too_old = error  # what it writes might be lost on newer hubs
            raise
        self._alone = False
        return number

    async def claim(self, node: int, limit: int, now: datetime, workflows: Workflows = None) -> list[Snapshot]:
        """Claim due instances and those of dead nodes; see `Store.claim`."""
        claimed, _ = await self._commit(lambda: claiming.claim(node, limit, now, workflows), self._tell_all)
        return claimed

    async def prune(
        self, now: datetime, limit: int, deliveries_kept: timedelta | None = None, messages_kept: timedelta | None = None
    ) -> int:
        """Delete instances whose retention has ended, and old deliveries and messages; see `Store.prune`."""
        kept = claiming.Kept(deliveries_kept, messages_kept)
        deleted, _ = await self._commit(lambda: claiming.prune(now, limit, kept), self._tell_all)
        return deleted

    def _tell_all(self, done: tuple[Any, set[int]]) -> None:
        self._tell(done[1])

    # ---- reading

    async def load(self, instance: int) -> Snapshot | None:
        """Read an instance with its whole journal, or None."""
        found = await self._read(lambda: reading.snapshots([instance]))
        return found[0] if found else None

    async def next_due(self, now: datetime, workflows: Workflows = None) -> datetime | None:
        """Return when the next unclaimed instance is due, `now` when one already is, None when none waits for a time."""
        due = await self._read(lambda: reading.next_due(workflows))
        return None if due is None else max(due, now)

    @overload
    async def find(self, query: InstanceQuery) -> Page[Instance]: ...
    @overload
    async def find(self, query: WorkflowQuery) -> Page[WorkflowRecord]: ...
    @overload
    async def find(self, query: VersionQuery) -> Page[Version]: ...
    @overload
    async def find(self, query: InboxQuery) -> Page[InboxEvent]: ...
    @overload
    async def find(self, query: HistoryQuery) -> Page[HistoryEvent]: ...
    @overload
    async def find(self, query: LogQuery) -> Page[StoredLine]: ...
    @overload
    async def find(self, query: DeliveryQuery) -> Page[Delivery]: ...
    @overload
    async def find(self, query: TriggerQuery) -> Page[TriggerRecord]: ...
    @overload
    async def find(self, query: QueueQuery) -> Page[QueueRecord]: ...
    @overload
    async def find(self, query: TokenQuery) -> Page[Token]: ...
    @overload
    async def find(self, query: AuditQuery) -> Page[AuditEntry]: ...
    @overload
    async def find(self, query: NodeQuery) -> Page[NodeRecord]: ...
    async def find(self, query: Query) -> Page[Any]:
        """Read one page. Raises: Rejected when the cursor is not of such a list."""
        return await self._read(lambda: answer_to(query, self._totals))

    async def counts(self) -> Mapping[Status, int]:
        """Count instances by status; a status that no instance has is absent."""
        return await self._read(lambda: reading.counts(self._totals))

    def signals(self) -> Subscription:
        """Subscribe, from this moment on; see `Store.signals`. Signals wait as a set of keys: many of one instance become one.

        The signals of a group are fed on the event loop before its `apply` returns, so that whoever sees a verb answered knows that the
        runner has been told. 0 comes when an unclaimed instance was created or has become due.
        """
        return self._signals.subscribe()
