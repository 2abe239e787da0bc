"""How many requests a webhook looks at: a limit for all together, and one for each remote address. In memory, on this node alone.

It protects what comes behind it, so it never touches a secret or a store, and forgets the oldest address rather than grow. One number for
each address: the moment at which its allowance is whole again (GCRA).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from datetime import timedelta

_MAX_ADDRESSES = 10_000  # remembered at once: about a megabyte


class RateLimit:
    """At most `limit` a `period`, of which `burst` may come at once, for each name."""

    def __init__(self, limit: int, period: timedelta, burst: int | None = None) -> None:
        self._interval_s = period.total_seconds() / limit
        self._slack_s = ((limit if burst is None else burst) - 1) * self._interval_s
        self._whole_at: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str, now_s: float) -> float:
        """Take one from the allowance of a name; return 0, or in how many seconds there will be one. `now_s` is monotonic."""
        whole_at = max(self._whole_at.pop(name, 0.0), now_s)
        too_early_s = whole_at - self._slack_s - now_s
        if too_early_s <= 0:
            whole_at += self._interval_s
        self._whole_at[name] = whole_at
        if len(self._whole_at) > _MAX_ADDRESSES:
            self._whole_at.popitem(last=False)
        return max(too_early_s, 0.0)


def sender(remote: str | None) -> str:
    """Return the name under which an address is counted; of version 6 the network, since a host has 2 ** 64 addresses in it."""
    try:
        address = ipaddress.ip_address(remote or "")
    except ValueError:
        return remote or ""
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
