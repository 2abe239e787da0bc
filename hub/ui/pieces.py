"""The small parts of every page: times, durations, statuses, values. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from hub.core.codec import plain
from hub.core.errors import ErrorInfo
from hub.core.model import Status
from hub.ui.markup import Child, Markup, tag

ROOT = "/dashboard"
NOTHING = "\N{EN DASH}"  # stands where there is no value
MAX_VALUE_CHARS = 20_000  # of a value on a page; the REST API has it whole

STATUS_WORDS = {
    Status.QUEUED: "Queued",
    Status.RUNNING: "Running",
    Status.PAUSED: "Paused",
    Status.ERRORED: "Errored",
    Status.TERMINATED: "Terminated",
    Status.COMPLETE: "Completed",
    Status.WAITING: "Waiting",
    Status.WAITING_FOR_PAUSE: "Waiting for pause",
    Status.ROLLING_BACK: "Rolling back",
    Status.UNKNOWN: "Unknown",
}


def address(*segments: str) -> str:
    """Return the path of a page; every segment is quoted, also slashes in ids."""
    return "/".join([ROOT, *(quote(segment, safe="") for segment in segments)])


def moment(value: datetime | None) -> Markup:
    """Show a time in UTC; the script turns it into the viewer's zone."""
    if value is None:
        return Markup(NOTHING)
    utc = value.astimezone(UTC)
    return tag("time", f"{utc:%Y-%m-%d %H:%M:%S} UTC", datetime=utc.isoformat(timespec="milliseconds").replace("+00:00", "Z"))


def duration(value: timedelta) -> str:
    """Show a duration in its two largest units."""
    seconds = max(value.total_seconds(), 0.0)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    raise AssertionError  # a minute and more was handled above


def between(start: datetime | None, end: datetime | None) -> str:
    """Show how long something took; a dash as long as it is not over."""
    return NOTHING if start is None or end is None else duration(end - start)


def badge(status: Status) -> Markup:
    """Show a status."""
    return tag("span", STATUS_WORDS[status], class_=f"badge {status.value}")


def value(encoded: bytes | None) -> Markup:
    """Show a stored value as JSON."""
    if encoded is None:
        return Markup(NOTHING)
    text = json.dumps(plain(encoded), indent=2, ensure_ascii=False)
    cut = tag("p", f"… cut; {len(text):,} characters in all. The REST API has the whole value.", class_="note")
    return Markup(tag("pre", text[:MAX_VALUE_CHARS]) + (cut if len(text) > MAX_VALUE_CHARS else ""))


def failure(error: ErrorInfo | None) -> Child:
    """Show an error with its stack."""
    if error is None:
        return None
    return tag("div", tag("strong", error.name), ": ", error.message, error.stack and tag("pre", error.stack), class_="error")


def table(columns: list[str], rows: list[list[Child]], *, class_: str | None = None) -> Markup:
    """Show a table with a head."""
    head = tag("thead", tag("tr", [tag("th", column, scope="col") for column in columns]))
    body = tag("tbody", [tag("tr", [tag("td", cell) for cell in row]) for row in rows])
    return tag("div", tag("table", head, body, class_=class_), class_="scroll")


def facts(pairs: list[tuple[str, Child]]) -> Markup:
    """Show labelled values."""
    return tag("dl", [tag("div", tag("dt", label), tag("dd", shown)) for label, shown in pairs])
