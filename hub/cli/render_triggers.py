"""What the commands about triggers and deliveries print, from the API's JSON. Pure, as `render.py` is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

from rich.console import RenderableType
from rich.text import Text

from hub.cli.render import Json, Listing, Row, labelled, table
from hub.cli.screen import safe
from hub.cli.words import Viewer

_PHASES = {
    "starting": "⌛ Starting",
    "listening": "👂 Listening",
    "connecting": "🔌 Connecting",
    "consuming": "📥 Consuming",
    "blocked": "✋ Blocked",
    "paused": "⏸️ Paused",
    "error": "❌ Error",
    "stopped": "🚫 Stopped",
}
_PHASE_STYLES = {
    "listening": "green",
    "consuming": "green",
    "error": "red",
    "blocked": "yellow",
    "paused": "yellow",
    "connecting": "yellow",
}
_STATUS_STYLES = {"rejected": "red", "dead": "red", "missed": "yellow", "held": "yellow", "replayed": "green", "created": "green"}
_OF_SLOTS = ("skipped", "missed")  # of many of them the hub hears at once, when it is back
_MAX_MESSAGE_CHARS = 100  # in a list; `describe` has the whole


def trigger_list(triggers: Sequence[Json], viewer: Viewer) -> Iterator[RenderableType]:
    """Show all triggers."""
    rows: list[Row] = [
        [
            Text(safe(str(item["name"])), style="bold"),
            safe(str(item["kind"])),
            safe(_target(item, "handler")),
            _phase(item),
            safe(_counted(item.get("counts") or {})),
            safe(str(item.get("message") or item.get("note") or "")),
        ]
        for item in triggers
    ]
    yield Listing(["Name", "Kind", "Workflow", "State", "Events", "Message"], rows, spare="Message")


def trigger(item: Json, preview: Json | None, viewer: Viewer) -> Iterator[RenderableType]:
    """Show one trigger, and what its schedule does next."""
    pairs: list[tuple[str, str | Text]] = [
        ("Name", Text(safe(str(item["name"])), style="bold")),
        ("Kind", safe(str(item["kind"]))),
        ("Workflow", safe(_target(item, "the project's handler"))),
        ("State", _phase(item)),
    ]
    if item.get("message"):
        pairs.append(("Message", safe(str(item["message"]))))
    if item.get("paused_on"):
        pairs.append(("Paused On", viewer.moment(item["paused_on"]) + (f" ({safe(str(item['note']))})" if item.get("note") else "")))
    pairs += [("Events", safe(_counted(item.get("counts") or {}) or "none since the start of the hub"))]
    pairs += [(_label(key), safe(_value(value))) for key, value in (item.get("facts") or {}).items()]
    if preview is not None:
        pairs.append(("Schedule", safe(str(preview["description"]))))
    yield from labelled(pairs)
    settings = item.get("settings") or {}
    if settings:
        yield Text("Settings:", style="bold")
        yield from labelled([(key, safe(_value(value))) for key, value in settings.items()], indent=2)
    if preview is not None and preview["occurrences"]:
        yield Text("Next occurrences:", style="bold")
        yield _times(preview["occurrences"], viewer, zone=settings.get("timezone"))


def _target(item: Json, handler: str) -> str:
    """Return what the events of a trigger do: start a workflow, only cancel instances, or go to the project's handler."""
    cancels = (item.get("settings") or {}).get("cancels")
    return str(item.get("workflow_name") or (f"(cancels {', '.join(cancels)})" if cancels else f"({handler})"))


def backfill(found: Sequence[Json], *, dry_run: bool, viewer: Viewer) -> Iterator[RenderableType]:
    """Show the occurrences of a backfill and what became of them."""
    noun = "occurrence" if len(found) == 1 else "occurrences"
    yield Text(f"{len(found)} {noun} would be emitted:" if dry_run else f"{len(found)} {noun}:")
    if found:
        yield _times(found, viewer, outcomes=None if dry_run else [receipt(item["receipt"]) for item in found])


def receipt(item: Json) -> Text:
    """Say in one line what became of an event."""
    status = str(item.get("status"))
    line = Text(status, style=_STATUS_STYLES.get(status, ""))
    if item.get("instance_id"):
        line.append(safe(f": {item.get('workflow_name')} {item['instance_id']}"), style="")
    if item.get("reason"):
        line.append(safe(f" ({item['reason']})"), style="")
    if item.get("delivery_id"):
        line.append(safe(f", delivery {item['delivery_id']}"), style="")
    return line


def delivery_list(deliveries: Sequence[Json], total: int | None, viewer: Viewer) -> Iterator[RenderableType]:
    """Show one page of stored deliveries."""
    yield Text(f"Showing {len(deliveries)} of {total} deliveries:" if total is not None else f"Showing {len(deliveries)} deliveries:")
    rows: list[Row] = [
        [
            Text(safe(str(item["id"])), style="bold"),
            safe(str(item["trigger"])),
            _status(item),
            viewer.moment(item["occurred_on"] if item["status"] in _OF_SLOTS else item["received_on"]),
            safe(_cut(f"{item['code']}: {item['message']}" if item.get("message") else str(item["code"]))),
        ]
        for item in deliveries
    ]
    yield Listing(["Delivery ID", "Trigger", "Status", "Received / Due", "Cause"], rows, spare="Cause")


def delivery(item: Json, viewer: Viewer) -> Iterator[RenderableType]:
    """Show one stored delivery with its event."""
    pairs: list[tuple[str, str | Text]] = [
        ("Delivery Id", Text(safe(str(item["id"])), style="bold")),
        ("Trigger", safe(str(item["trigger"]))),
        ("Status", _status(item)),
        ("Cause", safe(str(item["code"]))),
    ]
    if item.get("message"):
        pairs.append(("Message", safe(str(item["message"]))))
    if item.get("key"):
        pairs.append(("Key", safe(str(item["key"]))))
    pairs.append(("Received", viewer.moment(item["received_on"])))
    if item.get("occurred_on"):
        pairs.append(("Occurred", viewer.moment(item["occurred_on"])))
    if item.get("changed_on"):
        pairs.append(("Changed", viewer.moment(item["changed_on"])))
    if item.get("instance_id"):
        pairs.append(("Instance", safe(f"{item.get('workflow_name')} {item['instance_id']}")))
    yield from labelled(pairs)
    if item.get("event") is not None:
        yield Text("Event:", style="bold")
        yield Text(safe(json.dumps(item["event"], indent=2, ensure_ascii=False)))


def _phase(item: Json) -> Text:
    phase = "paused" if item.get("paused_on") else str(item.get("status"))
    return Text(_PHASES.get(phase, phase), style=_PHASE_STYLES.get(phase, ""))


def _status(item: Json) -> Text:
    status = str(item.get("status"))
    return Text(safe(status), style=_STATUS_STYLES.get(status, ""))


def _counted(counts: Json) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)


def _label(key: str) -> str:
    return key.replace("_", " ").title()


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE_CHARS else text[: _MAX_MESSAGE_CHARS - 1] + "…"


def _times(found: Sequence[Json], viewer: Viewer, *, zone: str | None = None, outcomes: Sequence[Text] | None = None) -> RenderableType:
    """Show occurrences: on the clock of the schedule too where it has one of its own, and when they start where that is not the same."""
    columns: dict[str, list[str | Text]] = {"Nominal (UTC)": [safe(str(item["nominal"])) for item in found]}
    if any(item["starts_on"] != item["nominal"] for item in found):
        columns["Starts (UTC)"] = [safe(str(item["starts_on"])) for item in found]
    if zone is not None:
        there = replace(viewer, zone=ZoneInfo(zone))
        columns[zone] = [there.moment(item["nominal"]) for item in found]
    columns["Here"] = [viewer.moment(item["starts_on"]) for item in found]
    if outcomes is not None:
        columns["Outcome"] = list(outcomes)
    return table(list(columns), [list(row) for row in zip(*columns.values(), strict=True)])
