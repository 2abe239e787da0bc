"""What a person sees of an instance while it runs: a live list of its steps on a terminal, plain lines elsewhere. On stderr, always.

Pure but for `Watching`, which owns the screen while it is entered. Events are those of the API's stream, as JSON, in their order; a step
that this version does not understand is left out of the list and still shown as a line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.text import Text

from hub.cli import render, screen
from hub.cli.screen import safe
from hub.cli.words import STATUSES, STYLES, Viewer, duration

if TYPE_CHECKING:
    from rich.live import Live

Json = dict[str, Any]

_REFRESHES = 8  # a second: durations move smoothly, and a terminal far away keeps up
_KEPT_LINES = 3  # of the terminal's height: the heading, the cursor, and one of the reader's own
_STATUS_OF = {
    "workflow_queued": "queued",
    "workflow_started": "running",
    "workflow_running": "running",
    "workflow_paused": "paused",
    "workflow_waiting_for_pause": "waitingForPause",
    "workflow_waiting": "waiting",
    "rollback_started": "rollingBack",
    "workflow_completed": "complete",
    "workflow_errored": "errored",
    "workflow_terminated": "terminated",
}
_SIGNS = {"running": ("▶", "blue"), "sleeping": ("💤", "yellow"), "waiting": ("👀", "yellow"), "retrying": ("🔁", "yellow")}
_ENDS = {"done": ("✅", "green"), "failed": ("❌", "red")}


@dataclass(slots=True)
class Line:
    """One step, as it stands. `note` says what it waits for, or why it failed."""

    name: str
    since: datetime
    state: str = "running"
    until: datetime | None = None
    note: str = ""
    attempt: int = 1


@dataclass(slots=True)
class Story:
    """The steps of an instance in the order in which they began, told by its events."""

    status: str = "queued"
    lines: dict[str, Line] = field(default_factory=dict)

    def tell(self, event: Json) -> None:
        """Take in the next event."""
        type, at = str(event.get("type")), _moment(event)
        if type in _STATUS_OF:
            self.status = _STATUS_OF[type]
        if type == "workflow_queued":
            self.lines.clear()  # it begins again
        name = str(event.get("stepName", ""))
        if not name:
            return
        name = f"↩ {name}" if type.startswith("rollback_") else name
        kind = type.removeprefix("rollback_")
        if kind.endswith("_started") and kind != "attempt_started":
            self.lines[name] = _begun(kind, name, at, event)
        elif name in self.lines:
            _move_on(self.lines[name], kind, at, event)

    def shown(self, now: datetime, height: int) -> Iterator[Text]:
        """Return the newest steps that fit into so many lines."""
        lines = list(self.lines.values())
        hidden = max(0, len(lines) - height)
        if hidden:
            yield Text(f"  … {hidden} earlier steps", style="dim")
        for line in lines[hidden:]:
            yield _shown(line, now)


def _begun(kind: str, name: str, at: datetime, event: Json) -> Line:
    if kind == "sleep_started":
        until = at + timedelta(milliseconds=event.get("durationMs", 0))
        return Line(name, at, "sleeping", note=f"until {until.astimezone():%Y-%m-%d %H:%M:%S}")
    if kind == "wait_started":
        return Line(name, at, "waiting", note=f'for the event "{event.get("eventType")}"')
    child = event.get("child")
    return Line(name, at, note=f"{child.get('workflow_name')} {child.get('instance_id')}" if isinstance(child, dict) else "")


def _move_on(line: Line, kind: str, at: datetime, event: Json) -> None:
    if kind == "attempt_started":
        line.state, line.attempt = "running", int(event.get("attempt", 1))
    elif kind == "attempt_errored":
        delay_ms = event.get("retryDelayMs")
        again = "" if delay_ms is None else f"; again in {duration(delay_ms / 1000)}"
        line.state, line.note = ("failed" if delay_ms is None else "retrying"), _error(event) + again
        line.until = at if delay_ms is None else None
    elif kind in ("step_completed", "sleep_completed", "wait_completed"):
        line.state, line.until, line.note = "done", at, ""
    elif kind in ("step_errored", "wait_timed_out"):
        line.state, line.until = "failed", at
        line.note = "no event came in time" if kind == "wait_timed_out" else line.note or _error(event)


def _error(event: Json) -> str:
    error = event.get("error") or {}
    return f"{error.get('name')}: {error.get('message')}" if error else ""


def _shown(line: Line, now: datetime) -> Text:
    sign, style = (_SIGNS | _ENDS)[line.state]
    seconds = max(0.0, ((line.until or now) - line.since).total_seconds())
    took = f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
    text = Text.assemble(f"  {sign} ", (_one_line(line.name), "bold" if line.until is None else ""), (f"  {took}", "dim"))
    if line.attempt > 1:
        text.append(f"  attempt {line.attempt}", style="yellow")
    if line.note:
        text.append(f"  {_one_line(line.note)}", style=style)
    return text


def _one_line(text: str) -> str:
    return safe(" ".join(text.split()))


def _moment(event: Json) -> datetime:
    return datetime.fromtimestamp(event.get("timestamp", 0) / 1000, UTC)


class Watching:
    """The view of one instance on stderr, from entering to leaving. `title` names what is watched."""

    def __init__(self, title: str) -> None:
        self.story = Story()
        self.title = title
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.live import Live

            console = screen.console(sys.stderr)
            self._height = max(3, console.height - _KEPT_LINES)
            self._live = Live(
                console=console, get_renderable=self._picture, refresh_per_second=_REFRESHES, vertical_overflow="crop",
            )  # fmt: skip
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def tell(self, event: Json) -> None:
        """Show an event."""
        self.story.tell(event)
        if self._live is None:
            sys.stderr.write(render.event(event, Viewer.here()).plain.rstrip() + "\n")
            sys.stderr.flush()

    def note(self, message: str) -> None:
        """Tell something beside the steps."""
        if self._live is None:
            screen.note(message)
        else:
            self._live.console.print(safe(message), style="yellow", soft_wrap=True)

    def _picture(self) -> Text:
        head = Text.assemble(
            (safe(self.title), "bold"), "  ", (STATUSES.get(self.story.status, self.story.status), STYLES.get(self.story.status, "")),
        )  # fmt: skip
        lines = [head, *self.story.shown(datetime.now(UTC), self._height)]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        picture = Text("\n").join(lines)
        picture.no_wrap, picture.overflow = True, "ellipsis"
        return picture
