"""Cursors of lists: the key of the last row of a page, as text that clients pass back unread."""

from __future__ import annotations

import base64
import binascii

from hub.core.errors import Rejected


def cursor_of(key: int) -> str:
    """Return the cursor that continues a list after the row with that key."""
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def key_of(cursor: str) -> int:
    """Return the key in a cursor. Raises: Rejected when it is not of such a list."""
    try:
        return int(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise Rejected(f"{cursor!r} is no cursor of this list; use the one that came with the page before", code="query.cursor") from error
