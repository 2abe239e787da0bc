"""Values that lie in one column: times, durations, and what is kept as a small JSON text.

Times are microseconds since 1970 UTC as integers, so that they sort, add and survive every driver unchanged.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hub.core.errors import ErrorInfo
from hub.core.model import Rollback, Source, Termination
from hub.core.writes import RestartPoint

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Return a time as it is stored."""
    return (at - EPOCH) // _MICROSECOND


def micros_or_null(at: datetime | None) -> int | None:
    """Return an optional time as it is stored."""
    return None if at is None else (at - EPOCH) // _MICROSECOND


def moment(stored: int) -> datetime:
    """Return a stored time."""
    return EPOCH + timedelta(microseconds=stored)


def moment_or_none(stored: int | None) -> datetime | None:
    """Return an optional stored time."""
    return None if stored is None else EPOCH + timedelta(microseconds=stored)


def length_or_null(duration: timedelta | None) -> int | None:
    """Return an optional duration as it is stored, in microseconds."""
    return None if duration is None else duration // _MICROSECOND


def length_or_none(stored: int | None) -> timedelta | None:
    """Return an optional stored duration."""
    return None if stored is None else timedelta(microseconds=stored)


def shown(text: str) -> str:
    """Return a text for people as it is stored: without the character that PostgreSQL's texts cannot hold."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}") if "\0" in text else text


# ---- values that lie in one column as JSON


def error_text(error: ErrorInfo | None) -> str | None:
    """Return an error as it is stored; ASCII, so that even half a surrogate pair in a message can be kept."""
    if error is None:
        return None
    return json.dumps(_error_form(error))


def error_of(text: str | None) -> ErrorInfo | None:
    """Return a stored error."""
    return None if text is None else ErrorInfo(**json.loads(text))


def rollback_text(rollback: Rollback | None) -> str | None:
    """Return the end of a rollback as it is stored."""
    if rollback is None:
        return None
    return json.dumps({"complete": rollback.complete, "error": rollback.error and _error_form(rollback.error)})


def rollback_of(text: str | None) -> Rollback | None:
    """Return the stored end of a rollback."""
    if text is None:
        return None
    kept = json.loads(text)
    return Rollback(complete=kept["complete"], error=kept["error"] and ErrorInfo(**kept["error"]))


def termination_text(by: Termination | None) -> str | None:
    """Return who terminated an instance as it is stored: the door, and the word `cascade`."""
    return None if by is None else f"{by.source.value} cascade" if by.cascade else by.source.value


def termination_of(text: str | None) -> Termination | None:
    """Return the stored one who terminated an instance."""
    if text is None:
        return None
    source, _, cascade = text.partition(" ")
    return Termination(source=Source(source), cascade=bool(cascade))


def _error_form(error: ErrorInfo) -> dict[str, str | None]:
    return {"name": error.name, "message": error.message, "stack": error.stack}


def origin_text(origin: RestartPoint | None) -> str | None:
    """Return from where an instance was restarted, as the history keeps it."""
    return None if origin is None else json.dumps({"name": origin.name, "count": origin.count, "kind": origin.kind})
