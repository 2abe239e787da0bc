"""Ids that the hub makes itself: UUIDs that begin with their time (version 7), so that indexes grow at one end."""

from __future__ import annotations

import os
from datetime import datetime
from uuid import UUID


def new_id(now: datetime) -> str:
    """Return a new UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits."""
    millis = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    random = int.from_bytes(os.urandom(10), "big")
    high = random >> 68 & 0xFFF
    low = random & ((1 << 62) - 1)
    return str(UUID(int=(millis << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low))
