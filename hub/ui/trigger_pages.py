"""The dashboard's pages about triggers and stored deliveries: values in, HTML out. Pure, as `pages.py` is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from hub.core.delivery import Delivery, DeliveryStatus, Occurrence, Phase, TriggerView
from hub.core.model import Page
from hub.ui.markup import Child, Markup, tag
from hub.ui.pages import Crumb, document
from hub.ui.pieces import NOTHING, address, facts, moment, table, value

_STATUS_CLASSES = {  # the colours of instances' statuses
    DeliveryStatus.FILTERED: "terminated",
    DeliveryStatus.REJECTED: "errored",
    DeliveryStatus.DEAD: "errored",
    DeliveryStatus.HELD: "paused",
    DeliveryStatus.SKIPPED: "terminated",
    DeliveryStatus.MISSED: "paused",
    DeliveryStatus.REPLAYED: "complete",
}
_PHASE_CLASSES = {
    Phase.STARTING: "queued",
    Phase.LISTENING: "complete",
    Phase.CONNECTING: "waiting",
    Phase.CONSUMING: "complete",
    Phase.BLOCKED: "waiting",
    Phase.PAUSED: "paused",
    Phase.ERROR: "errored",
    Phase.STOPPED: "terminated",
}
_TRIGGERS: Crumb = ("Triggers", address("triggers"))
_OF_SLOTS = (DeliveryStatus.SKIPPED, DeliveryStatus.MISSED)  # of many of them the hub hears at once, when it is back
_DELIVERIES: Crumb = ("Deliveries", address("deliveries"))


def triggers(views: Sequence[TriggerView]) -> bytes:
    """Return the list of triggers."""
    rows: list[list[Child]] = [
        [
            tag("a", view.record.name, href=address("triggers", view.record.name)),
            view.record.kind,
            _workflow(view),
            _state(view),
            _counted(view),
            view.health.message or view.record.note or "",
        ]
        for view in views
    ]
    empty = tag("p", "There are no triggers. Declare one in hub.toml.", class_="note")
    listed = table(["Trigger", "Kind", "Workflow", "State", "Events", "Message"], rows) if rows else empty
    return document("Triggers", [("Workflows", address()), ("Triggers", None)], [listed, _to_deliveries(None)])


def trigger(view: TriggerView, schedule: tuple[str, Sequence[Occurrence]] | None) -> bytes:
    """Return one trigger; `schedule` is its calendar in words and its next occurrences."""
    record = view.record
    pairs: list[tuple[str, Child]] = [("State", _state(view)), ("Kind", record.kind), ("Workflow", _workflow(view))]
    if view.health.message:
        pairs.append(("Message", view.health.message))
    if record.paused_at is not None:
        pairs += [("Paused", moment(record.paused_at)), ("Note", record.note or NOTHING)]
    pairs.append(("Events", _counted(view)))
    if record.cursor is not None:
        pairs.append(("Decided up to", moment(record.cursor)))
    pairs += [(key.replace("_", " ").capitalize(), _plain(fact)) for key, fact in view.health.facts.items()]
    content: list[Child] = [facts(pairs), _to_deliveries(record.name)]
    if schedule is not None:
        words, occurrences = schedule
        rows: list[list[Child]] = [[moment(each.nominal), moment(each.starts_at)] for each in occurrences]
        content.append(tag("section", tag("h2", "Schedule"), tag("p", words), table(["Nominal", "Starts"], rows)))
    if view.settings:
        settings: list[list[Child]] = [[tag("code", key), _plain(setting)] for key, setting in view.settings.items()]
        content.append(tag("section", tag("h2", "Settings"), table(["Key", "Value"], settings)))
    return document(record.name, [("Workflows", address()), _TRIGGERS, (record.name, None)], content)


def deliveries(page: Page[Delivery], trigger: str | None, status: DeliveryStatus | None, *, first: bool) -> bytes:
    """Return one page of stored deliveries, of one trigger or of all."""
    rows: list[list[Child]] = [
        [
            tag("a", item.id, href=address("deliveries", item.id)),
            tag("a", item.trigger, href=address("triggers", item.trigger)),
            _badge(item.status),
            moment(item.occurred_at if item.status in _OF_SLOTS else item.received_at),
            [tag("code", item.code), " ", item.message],
        ]
        for item in page.items
    ]
    empty = tag("p", "There are no such deliveries. What created an instance is found there.", class_="note")
    listed = table(["Delivery", "Trigger", "Status", "Received / due", "Cause"], rows) if rows else empty
    newest = None if first else tag("a", "← newest", href=_listing(trigger, status))
    older = None if page.cursor is None else tag("a", "older →", href=_listing(trigger, status, page.cursor), rel="next")
    pager = tag("div", newest, " ", older, class_="pager")
    return document("Deliveries", [("Workflows", address()), _TRIGGERS, ("Deliveries", None)], [_filter(trigger, status), listed, pager])


def delivery(item: Delivery) -> bytes:
    """Return one stored delivery with its event."""
    pairs: list[tuple[str, Child]] = [
        ("Status", _badge(item.status)),
        ("Trigger", tag("a", item.trigger, href=address("triggers", item.trigger))),
        ("Cause", [tag("code", item.code), " ", item.message]),
        ("Key", item.key or NOTHING),
        ("Received", moment(item.received_at)),
        ("Occurred", moment(item.occurred_at)),
        ("Changed", moment(item.changed_at)),
    ]
    if item.workflow is not None and item.instance_id is not None:
        path = address("workflows", item.workflow, "instances", item.instance_id)
        pairs.append(("Instance", tag("a", f"{item.workflow} {item.instance_id}", href=path)))
    content = [facts(pairs), tag("section", tag("h2", "Event"), value(item.event))]
    return document(item.id, [("Workflows", address()), _TRIGGERS, _DELIVERIES, (item.id, None)], content, refresh=False)


def _workflow(view: TriggerView) -> Child:
    name, cancels = view.record.workflow, view.settings.get("cancels")
    if name is not None:
        return tag("a", name, href=address("workflows", name))
    return f"cancels {', '.join(cancels)}" if cancels else "the project's handler"


def _state(view: TriggerView) -> Markup:
    phase = Phase.PAUSED if view.record.paused_at is not None else view.health.phase
    return tag("span", phase.value.capitalize(), class_=f"badge {_PHASE_CLASSES[phase]}")


def _badge(status: DeliveryStatus) -> Markup:
    return tag("span", status.value.capitalize(), class_=f"badge {_STATUS_CLASSES[status]}")


def _counted(view: TriggerView) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in view.counts.items() if count) or "none yet"


def _plain(shown: Any) -> str:
    return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)


def _to_deliveries(trigger: str | None) -> Markup:
    return tag("p", tag("a", "Filtered, refused, held and missed deliveries", href=_listing(trigger, None)))


def _filter(trigger: str | None, chosen: DeliveryStatus | None) -> Markup:
    choices: list[tuple[DeliveryStatus | None, str]] = [(None, "All"), *((status, status.value.capitalize()) for status in DeliveryStatus)]
    links = [
        tag("a", word, href=_listing(trigger, status), aria_current="true" if status is chosen else None) for status, word in choices
    ]
    return tag("div", links, class_="filter")


def _listing(trigger: str | None, status: DeliveryStatus | None, cursor: str | None = None) -> str:
    named = (("trigger", trigger), ("status", status.value if status else None), ("cursor", cursor))
    query = {key: text for key, text in named if text}
    return address("deliveries") + (f"?{urlencode(query)}" if query else "")
