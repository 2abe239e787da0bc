"""What a webhook keeps of requests that it did not take.

Two rules. A request that was verified, or needed no verification, and cannot be read is stored with its body, because the data may be all
that there is. A request that proved nothing, or was too large for being read, is a stranger's: it is counted, and at most one row and one
line in the log a minute tell of all of its kind, without body and headers, so that no stranger can fill the disk.
"""

from __future__ import annotations

import binascii
import contextlib
from collections.abc import Mapping
from typing import Any

from hub.core.delivery import DeliveryStatus, Phase, TriggerEvent
from hub.core.errors import Rejected, Unavailable
from hub.core.model import HttpRequest
from hub.core.ports import TriggerContext

_PAUSE_S = 60.0  # between two rows about strangers
_KEPT_BYTES = 65_536  # of a body that cannot be read; enough to see what is wrong with it


class Strangers:
    """Counts what strangers sent to one webhook, and tells of it now and then."""

    def __init__(self) -> None:
        self._told_at: dict[str, float] = {}
        self._since: dict[str, int] = {}
        self.total = 0

    async def refused(self, ctx: TriggerContext, request: HttpRequest, code: str, message: str) -> None:
        """Note a refused request. The answer to the sender does not depend on it: a store that is away changes nothing."""
        self.total += 1
        ctx.report(Phase.LISTENING, refused=self.total)
        count = self._since[code] = self._since.get(code, 0) + 1
        now_s = ctx.clock.monotonic()
        told_at = self._told_at.get(code)
        if told_at is not None and now_s - told_at < _PAUSE_S:
            return
        self._told_at[code], self._since[code] = now_s, 0
        ctx.log.warning("webhook.refused", trigger=ctx.name, code=code, reason=message, remote=request.remote, requests=count)
        event = TriggerEvent(payload=None, metadata={**where(request), "remote": request.remote, "requests": count})
        with contextlib.suppress(Unavailable):
            await ctx.keep(event, DeliveryStatus.REJECTED, code=code, message=message)


async def unreadable(ctx: TriggerContext, request: HttpRequest, headers: dict[str, str], error: Rejected) -> None:
    """Store a request that cannot be read, with its body. Raises: Unavailable (answer that instead: the sender keeps it)."""
    event = TriggerEvent(payload=_shown(request.body), headers=headers, metadata=where(request))
    await ctx.keep(event, DeliveryStatus.REJECTED, code=error.code, message=error.message)


def where(request: HttpRequest) -> dict[str, Any]:
    """Return where a request came in."""
    told: dict[str, Any] = {"method": request.method, "path": request.path}
    if request.params:
        told["params"] = request.params
    return told


def _shown(body: bytes) -> Mapping[str, Any]:
    kept = body[:_KEPT_BYTES]
    size = {"bytes": len(body)} if len(body) > len(kept) else {}
    try:
        return {"text": kept.decode(), **size}
    except UnicodeDecodeError:
        return {"base64": binascii.b2a_base64(kept, newline=False).decode(), **size}
