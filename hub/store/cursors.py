"""Cursors of lists: the place of the last row of a page, as text that clients pass back unread."""

from __future__ import annotations

import base64
import binascii

from hub.core.errors import Rejected


def cursor_of(*place: int) -> str:
    """Return the cursor that continues a list after the row at that place: its key, or all that the list is ordered by."""
    return base64.urlsafe_b64encode(".".join(map(str, place)).encode()).decode().rstrip("=")


def key_of(cursor: str) -> int:
    """Return the key in a cursor. Raises: Rejected when it is not of such a list."""
    return place_of(cursor, 1)[0]


def place_of(cursor: str, numbers: int) -> tuple[int, ...]:
    """Return the place in a cursor, of so many numbers. Raises: Rejected when it is not of such a list."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        place = tuple(map(int, text.split(".")))
        if len(place) != numbers or any(abs(number) >= 1 << 63 for number in place):  # more than a database's integers hold
            raise ValueError(cursor)
    except (ValueError, binascii.Error) as error:
        raise Rejected(f"{cursor!r} is no cursor of this list; use the one that came with the page before", code="query.cursor") from error
    return place
