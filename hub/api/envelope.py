"""The one envelope of every REST answer, and how times are written in it.

Owns the keys `success`, `errors`, `messages`, `result`, `result_info`. Never decides a status: that is `problems.py`. Every body that
leaves through here is plain JSON in UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NotRequired, overload

from typing_extensions import TypedDict

from hub.core.codec import dump_plain


class Note(TypedDict):
    """A numbered text for people: one of `errors` or `messages`."""

    code: int
    message: str


class ResultInfo(TypedDict):
    """Where a list stands. Totals only where they were counted; `cursor` only when something follows."""

    count: int
    per_page: int
    page: NotRequired[int]
    total_count: NotRequired[int]
    total_pages: NotRequired[int]
    cursor: NotRequired[str]
    status_counts: NotRequired[dict[str, int]]


def success(result: Any, *, info: ResultInfo | None = None, messages: Iterable[Note] = ()) -> bytes:
    """Write the envelope of a request that worked."""
    body: dict[str, Any] = {"success": True, "errors": [], "messages": list(messages), "result": result}
    if info is not None:
        body["result_info"] = info
    return dump_plain(body)


def failure(code: int, message: str) -> bytes:
    """Write the envelope of a request that did not."""
    return dump_plain({"success": False, "errors": [Note(code=code, message=message)], "messages": [], "result": None})


def result_info(*, count: int, per_page: int, page: int | None, total: int | None, cursor: str | None) -> ResultInfo:
    """Describe one page of a list; what is None is left out."""
    info = ResultInfo(count=count, per_page=per_page)
    if page is not None:
        info["page"] = page
    if total is not None:
        info["total_count"] = total
        info["total_pages"] = -(-total // per_page)
    if cursor is not None:
        info["cursor"] = cursor
    return info


@overload
def timestamp(moment: datetime) -> str: ...
@overload
def timestamp(moment: None) -> None: ...
@overload
def timestamp(moment: datetime | None) -> str | None: ...
def timestamp(moment: datetime | None) -> str | None:
    """Write a moment as ISO 8601 in UTC with milliseconds and `Z`; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
