"""How long a client wants to wait for the end of what it starts: `?wait=30s`, or the header `Prefer: wait=30` (RFC 7240, section 4.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from hub.core.duration import parse_short
from hub.core.errors import Rejected

_PREFERENCE = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=[,;]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long a client waits for the end, and whether it said so by the header `Prefer`."""

    timeout: timedelta
    preferred: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """What tells the client that its preference was heard."""
        return {"preference-applied": f"wait={int(self.timeout.total_seconds())}"} if self.preferred else {}


def asked_wait(given: str | None, prefer: str, longest: timedelta) -> Wait | None:
    """Return how long a client wants to wait, within what is allowed; None = not at all. Raises: Rejected with code `query`.

    `given` is the value of `wait` in the query, which beats the header's `prefer`.
    """
    if given is not None:
        try:
            timeout = parse_short(given)
        except ValueError:
            raise Rejected(f"wait={given[:40]!r} is not a time such as 30s", code="query") from None
        return Wait(timeout=min(timeout, longest)) if timeout else None
    preference = _PREFERENCE.search(prefer)
    if preference is None or not int(preference[1]):
        return None
    return Wait(timeout=min(timedelta(seconds=int(preference[1])), longest), preferred=True)
