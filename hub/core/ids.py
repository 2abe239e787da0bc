"""Ids that the hub makes itself: UUIDs that begin with their time (version 7), so that indexes grow at one end."""

from __future__ import annotations

import os
from datetime import datetime

_DIGITS = 19  # hexadecimal ones of chance in one id
_STOCK = 4096  # bytes that are fetched at once: asking the system costs more than all the rest
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class _Chance:
    """Random digits of the system, fetched in stock. A process that is forked off does not share them."""

    def __init__(self) -> None:
        self._stock = ""
        self._taken = 0
        if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
            os.register_at_fork(after_in_child=self._forget)

    def take(self, digits: int) -> str:
        """Return digits that were never taken before."""
        if self._taken + digits > len(self._stock):
            self._stock, self._taken = os.urandom(_STOCK).hex(), 0
        self._taken += digits
        return self._stock[self._taken - digits : self._taken]

    def _forget(self) -> None:
        self._stock = ""


_chance = _Chance()


def new_id(now: datetime) -> str:
    """Return a new UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits."""
    time = f"{int(now.timestamp() * 1000) & ((1 << 48) - 1):012x}"
    chance = _chance.take(_DIGITS)
    return f"{time[:8]}-{time[8:]}-7{chance[:3]}-{_VARIANT[chance[3]]}{chance[4:7]}-{chance[7:]}"


def new_mark() -> str:
    """Return 32 random hexadecimal digits, for what is told apart only for a while, such as requests."""
    return _chance.take(32)
