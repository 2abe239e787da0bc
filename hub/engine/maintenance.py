"""Housekeeping of a node: deletes instances, deliveries and audit entries that are kept no longer. Idempotent: all nodes may do it."""

from __future__ import annotations

from datetime import timedelta

from hub.core.clock import Clock
from hub.core.errors import HubError
from hub.core.ports import Log, Store
from hub.engine.audit import Auditor

AT_ONCE = 500  # instances a transaction: the writes of executions go in between


class Maintenance:
    """A loop that prunes."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        log: Log,
        every: timedelta,
        deliveries_kept: timedelta | None,
        messages_kept: timedelta | None,
        auditor: Auditor,
    ) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._every_s = every.total_seconds()
        self._deliveries_kept = deliveries_kept
        self._messages_kept = messages_kept
        self._auditor = auditor

    async def run(self) -> None:
        """Prune for ever; what goes wrong is tried again in the next round."""
        while True:
            await self._clock.sleep(self._every_s)
            try:
                deleted = await self.prune()
            except HubError as error:
                self._log.warning("maintenance.store_away", error=error.message)
            else:
                if deleted:
                    self._log.info("maintenance.pruned", rows=deleted)

    async def prune(self) -> int:
        """Delete all instances whose retention has ended, and old deliveries and messages; return how many, of one of them."""
        deleted = 0
        while (some := await self._store.prune(self._clock.now(), AT_ONCE, self._deliveries_kept, self._messages_kept)) > 0:
            deleted += some
        await self._auditor.prune()
        return deleted
