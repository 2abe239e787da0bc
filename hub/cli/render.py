"""What the client commands print, from the API's JSON: the labels, their order and the tables of `wrangler`.

Pure: JSON and a `Viewer` in, rich renderables out; nothing is read or written here. A field that the hub did not send is left out, and a
value that this version does not know is shown as unknown, so an older command can read a newer hub.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from hub.cli.screen import safe
from hub.cli.words import STATUSES, STEP_TYPES, STYLES, TRIGGERS, UNKNOWN, Viewer, parse_moment

Json = dict[str, Any]
Pair = tuple[str, str | Text]
Row = list[str | Text]

_CUT = "[...output truncated]"
_LEFT = "left"  # in place of a success: not finished, and never will be
_UNBOUNDED = 100_000  # columns: to learn how wide a table would like to be


# ---- workflows


def workflow_list(workflows: Sequence[Json], page: int, viewer: Viewer) -> Iterator[RenderableType]:
    """Show one page of workflows."""
    yield Text(f"Showing {len(workflows)} {'workflow' if len(workflows) == 1 else 'workflows'} from page {page}:")
    rows: list[Row] = [
        [
            Text(safe(str(item["name"])), style="bold"),
            safe(str(item["script_name"])),
            safe(str(item["class_name"])),
            viewer.moment(item["created_on"]),
            viewer.moment(item["modified_on"]),
        ]
        for item in workflows
    ]
    yield Listing(["Name", "Script name", "Class name", "Created", "Modified"], rows)


def workflow(item: Json, version: Json | None) -> Iterator[RenderableType]:
    """Show one workflow and its latest version."""
    yield from labelled(
        [
            ("Name", safe(str(item["name"]))),
            ("Id", safe(str(item["id"]))),
            ("Script Name", safe(str(item["script_name"]))),
            ("Class Name", safe(str(item["class_name"]))),
            ("Created On", str(item["created_on"])),
            ("Modified On", str(item["modified_on"])),
        ]
    )
    if version is not None:
        yield Text("Latest Version:", style="bold")
        dates = {"created_on": item["created_on"], "modified_on": item["modified_on"], **version}
        yield from labelled(
            [("Id", safe(str(version["id"]))), ("Created On", str(dates["created_on"])), ("Modified On", str(dates["modified_on"]))],
            indent=2,
        )


def version_list(versions: Sequence[Json], page: int, viewer: Viewer) -> Iterator[RenderableType]:
    """Show one page of a workflow's versions."""
    yield Text(f"Showing {len(versions)} {'version' if len(versions) == 1 else 'versions'} from page {page}:")
    rows: list[Row] = [
        [Text(safe(str(item["id"])), style="bold"), safe(str(item["class_name"])), viewer.moment(item["created_on"])] for item in versions
    ]
    yield table(["Version ID", "Class name", "Created"], rows)


def version(name: str, item: Json) -> Iterator[RenderableType]:
    """Show one version of a workflow."""
    yield from labelled(
        [
            ("Workflow Name", safe(name)),
            ("Version Id", safe(str(item["id"]))),
            ("Class Name", safe(str(item["class_name"]))),
            ("Language", safe(str(item.get("language") or "unknown"))),
            ("Created On", str(item["created_on"])),
        ]
    )


# ---- instances


def instance_list(instances: Sequence[Json], page: int, viewer: Viewer) -> Iterator[RenderableType]:
    """Show one page of instances."""
    yield Text(f"Showing {len(instances)} {'instance' if len(instances) == 1 else 'instances'} from page {page}:")
    rows: list[Row] = [
        [
            Text(safe(str(item["id"])), style="bold"),
            safe(str(item.get("version_id") or "")),
            viewer.moment(item["created_on"]),
            viewer.moment(item.get("modified_on")),
            _status(item.get("status")),
        ]
        for item in instances
    ]
    yield Listing(["Instance ID", "Version", "Created", "Modified", "Status"], rows, spare="Version")


def instance(name: str, instance_id: str, item: Json, viewer: Viewer, *, output: bool, limit: int) -> Iterator[RenderableType]:
    """Show one instance with its steps and their attempts. Outputs are cut after `limit` characters, or left out."""
    yield from labelled(_head(name, instance_id, item, viewer))
    steps = [_as_left(step, item) for step in item.get("steps") or []]
    error = item.get("error") or {}
    if not any(_is_of(step, error) for step in steps):  # else the step itself tells where it came from
        yield from _stack(error.get("stack"), 2)
    yield Text("Steps:", style="bold")
    for step in steps:
        yield Text("")
        yield from labelled(_step(step, viewer, output=output, limit=limit), indent=2)
        if step.get("attempts"):
            yield _attempts(step["attempts"], viewer)
        yield from _stack(_stack_of(step), 4)


def _head(name: str, instance_id: str, item: Json, viewer: Viewer) -> Iterator[Pair]:
    yield "Workflow Name", safe(name)
    yield "Instance Id", safe(instance_id)
    if item.get("versionId"):
        yield "Version Id", safe(str(item["versionId"]))
    if item.get("version_last_run_id") not in (None, item.get("versionId")):
        yield "Version Last Run", safe(str(item["version_last_run_id"]))
    yield "Status", _status(item.get("status"))
    yield from _origin(item.get("trigger") or {})
    if item.get("parent"):
        yield "Parent", _instance_name(item["parent"])
    if item.get("queued"):
        yield "Queued", viewer.moment(item["queued"])
    if item.get("success") is not None:
        yield "Success", _success(item["success"])
    yield from _times(item, viewer)
    last = _last_success(item.get("steps") or [])
    if last is not None:
        yield "Last Successful Step", safe(last)
    if item.get("error"):
        yield "Error", _error(item["error"])
    if item.get("rollback"):
        yield "Rollback", _rollback(item["rollback"])


def _origin(trigger: Json) -> Iterator[Pair]:
    if trigger.get("source"):
        yield "Trigger", TRIGGERS.get(trigger["source"], UNKNOWN)
    for label, part in (("Trigger Name", "name"), ("Event Key", "key"), ("Delivery Id", "delivery_id")):
        if trigger.get(part):
            yield label, safe(str(trigger[part]))


def _instance_name(item: Json) -> str:
    return safe(f"{item.get('workflow_name')} {item.get('instance_id')}")


def _rollback(rollback: Json) -> Text:
    if rollback.get("outcome") == "complete":
        return Text("✅ Complete", style="green")
    return Text("❌ Failed: ", style="red").append_text(_error(rollback.get("error") or {}))


def _step(step: Json, viewer: Viewer, *, output: bool, limit: int) -> Iterator[Pair]:
    kind = step.get("type")
    if kind == "termination":
        yield "Type", STEP_TYPES[kind]
        source = (step.get("trigger") or {}).get("source")
        if source not in (None, "unknown"):
            yield "Trigger", safe(str(source))
        return
    yield "Name", Text(safe(str(step.get("name"))), style="bold")
    yield "Type", STEP_TYPES.get("workflow" if step.get("child") else str(kind), UNKNOWN)
    if step.get("child"):
        yield "Instance", _instance_name(step["child"])
    yield from _times(step, viewer)
    if kind in ("step", "rollback"):
        yield "Success", _success(step.get("success"))
        retry = _retries_at(step, viewer)
        if retry is not None:
            yield "Retries At", retry
    elif step.get("error"):
        yield "Error", _error(step["error"])
    if output and "output" in step and kind != "rollback":
        yield "Output", _output(step["output"], limit)


def _as_left(step: Json, item: Json) -> Json:
    """Return a step as its instance left it: what was under way when the instance ended does not go on."""
    if not item.get("end") or step.get("type") not in ("step", "rollback") or step.get("success") is not None:
        return step
    left = {"end": item["end"], "success": _LEFT}
    attempts = [attempt if attempt.get("success") is not None else {**attempt, **left} for attempt in step.get("attempts") or []]
    return {**step, **left, "attempts": attempts}


def _times(item: Json, viewer: Viewer) -> Iterator[Pair]:
    if item.get("start"):
        yield "Start", viewer.moment(item["start"])
    if item.get("end"):
        yield "End", viewer.moment(item["end"])
    if item.get("start"):
        yield "Duration", viewer.span(item["start"], item.get("end"))


def _retries_at(step: Json, viewer: Viewer) -> str | None:
    """When the next attempt starts: only while the step is between two attempts."""
    if step.get("success") is not None or not step.get("retries_at"):
        return None
    left = parse_moment(step["retries_at"])
    due = viewer.moment(left)
    return f"{due} (in {viewer.span(viewer.now, left)} from now)" if left is not None and left > viewer.now else f"{due} (now)"


def _last_success(steps: Iterable[Json]) -> str | None:
    forward = [step for step in steps if step.get("type") != "rollback"]
    done = [step for step in forward if step.get("success") is True or (step.get("type") == "sleep" and step.get("finished"))]
    return str(done[-1].get("name")) if done else None


def _attempts(attempts: Sequence[Json], viewer: Viewer) -> Table:
    """One row an attempt; the column of errors only when there is one."""
    failed = any(attempt.get("error") for attempt in attempts)
    rows: list[Row] = []
    for attempt in attempts:
        start, end = attempt.get("start"), attempt.get("end")
        row: Row = [viewer.moment(start), viewer.moment(end), viewer.span(start, end), _state(attempt.get("success"))]
        if failed:
            row.append(_error(attempt["error"]) if attempt.get("error") else "")
        rows.append(row)
    return table(["Start", "End", "Duration", "State", *(["Error"] if failed else [])], rows)


_FRAME = frozenset({"instanceId", "eventId", "timestamp", "type", "stepName", "config"})


def event(item: Json, viewer: Viewer) -> Text:
    """Show one event of a stream on one line: number, time, type, step, and what else it tells."""
    type = str(item.get("type"))
    when = datetime.fromtimestamp(item.get("timestamp", 0) / 1000, UTC)
    line = Text(f"{item.get('eventId')}  {viewer.moment(when)}  ", style="dim")
    line.append(safe(type.ljust(24)), style=_event_style(type))
    words = [str(item["stepName"])] if item.get("stepName") else []
    for key in [key for key in item if key not in _FRAME]:
        value = item[key]
        words.append(f"{key}={value if isinstance(value, int) else json.dumps(value, separators=(',', ':'), ensure_ascii=False)}")
    return line.append(safe("  " + " ".join(words)) if words else "")


def _event_style(type: str) -> str:
    if type.endswith(("errored", "timed_out", "terminated")):
        return "red"
    return "green" if type.endswith("completed") else ""


# ---- pieces


def _status(status: str | None) -> Text:
    return Text(STATUSES.get(str(status), UNKNOWN), style=STYLES.get(str(status), ""))


def _success(success: bool | str | None) -> Text:
    if success == _LEFT:
        return _left()
    if success is None:
        return Text("▶ Running", style="blue")
    return Text("✅ Yes", style="green") if success else Text("❌ No", style="red")


def _state(success: bool | str | None) -> Text:
    if success == _LEFT:
        return _left()
    if success is None:
        return Text("🔄 Working", style="blue")
    return Text("✅ Success", style="green") if success else Text("❌ Error", style="red")


def _left() -> Text:
    return Text("🚫 Stopped", style="magenta")


def _error(error: Json) -> Text:
    return Text(safe(f"{error.get('name') or 'Error'}: {error.get('message') or ''}"), style="red")


def _output(value: Any, limit: int) -> str:
    """Write what a step returned: the hub sends it as JSON text, which stands as it is; anything else becomes JSON here."""
    text = safe(value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False))
    return text if len(text) <= limit else text[:limit] + _CUT


def _stack_of(step: Json) -> str | None:
    """Where the last attempt of a step that has not succeeded came to grief."""
    attempts = step.get("attempts") or []
    if step.get("success") is True or not attempts:
        return None
    stack = (attempts[-1].get("error") or {}).get("stack")
    return None if stack is None else str(stack)


def _is_of(step: Json, error: Json) -> bool:
    """Whether a step ended with this error, and knows its lines."""
    last = ((step.get("attempts") or [{}])[-1].get("error") or {}) if _stack_of(step) else {}
    return bool(last) and (last.get("name"), last.get("message")) == (error.get("name"), error.get("message"))


def _stack(stack: str | None, indent: int) -> Iterator[Text]:
    for line in safe(stack or "").splitlines():
        yield Text(" " * indent + line, style="dim")


def labelled(pairs: Iterable[Pair], indent: int = 0) -> Iterator[Text]:
    """Yield one line a pair, values in one column; a value of several lines keeps to that column."""
    known = list(pairs)
    column = indent + max(len(label) for label, _ in known) + 3
    for label, value in known:
        line = Text(" " * indent)
        line.append(f"{label}:".ljust(column - indent), style="bold")
        text = value if isinstance(value, Text) else Text(value)
        yield line.append_text(Text("\n" + " " * column).join(text.split("\n")))


def table(columns: Sequence[str], rows: Iterable[Row]) -> Table:
    """Return a table with lines; long cells are folded."""
    lines = Table(box=box.SQUARE, show_lines=True, header_style="bold", border_style="dim")
    for column in columns:
        lines.add_column(column, overflow="fold")
    for row in rows:
        lines.add_row(*row)
    return lines


class Listing:
    """A list whose ids can be copied from any terminal: a table with whole cells, else without its spare column, else line by line."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Row], *, spare: str | None = None) -> None:
        self._columns = columns
        self._rows = rows
        self._spare = spare

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        unbounded = options.update(max_width=_UNBOUNDED)
        for left_out in dict.fromkeys((None, self._spare)):
            kept = [n for n, column in enumerate(self._columns) if column != left_out]
            whole = table([self._columns[n] for n in kept], [[row[n] for n in kept] for row in self._rows])
            if console.measure(whole, options=unbounded).maximum <= options.max_width:
                yield whole
                return
        for row in self._rows:
            yield Text("")
            yield from labelled(zip(self._columns, row, strict=True))
