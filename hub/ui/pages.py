"""The dashboard's pages: values in, HTML out. Pure; asks nothing and knows no server."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from urllib.parse import urlencode

from hub.core.labels import text_of
from hub.core.logs import StoredLine
from hub.core.model import FINAL, Attempt, Entry, Instance, Kind, Page, Snapshot, State, Status, WorkflowRecord
from hub.ui.markup import Child, Markup, joined, tag
from hub.ui.pieces import NOTHING, STATUS_WORDS, address, badge, between, facts, failure, moment, table, value

MAX_STEPS = 500  # on one page; a loop of thousands of steps would make a browser slow
_KIND_WORDS = {
    Kind.STEP: "Step", Kind.SLEEP: "Sleep", Kind.EVENT: "Wait for event", Kind.CHILD: "Workflow", Kind.ROLLBACK: "Rollback",
}  # fmt: skip
_SILENCE: Page[StoredLine] = Page(items=())
_TRIED = frozenset({Kind.STEP, Kind.ROLLBACK})  # what has attempts

Crumb = tuple[str, str | None]  # text and address; the last one is where we are


def document(title: str, crumbs: list[Crumb], content: Child, *, refresh: bool = True) -> bytes:
    """Return a whole page. With `refresh` the script keeps it up to date."""
    links = [tag("a", text, href=target) if target else tag("span", text, aria_current="page") for text, target in crumbs]
    nav = tag("nav", tag("ol", [tag("li", link) for link in links]), aria_label="breadcrumb")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} · Trigger Hub"),
        tag("link", rel="stylesheet", href=address("static", "dashboard.css")),
        tag("script", src=address("static", "dashboard.js"), type="module"),
    )
    body = tag("body", tag("header", nav), tag("main", tag("h1", title), content, data_refresh=refresh), tag("footer", id="state"))
    return ("<!doctype html>" + tag("html", head, body, lang="en")).encode()


def workflows(page: Page[WorkflowRecord]) -> bytes:
    """Return the list of workflows with their instances by status."""
    rows: list[list[Child]] = [
        [
            tag("a", record.name, href=address("workflows", record.name)),
            tag("code", record.class_name),
            moment(record.triggered_at),
            _count_links(record),
        ]
        for record in page.items
    ]
    empty = tag("p", "There are no workflows yet. Declare one in hub.toml.", class_="note")
    content = table(["Workflow", "Class", "Last instance", "Instances"], rows) if rows else empty
    to_triggers = tag("p", tag("a", "Triggers", href=address("triggers")), " · ", tag("a", "Deliveries", href=address("deliveries")))
    return document("Workflows", [("Workflows", None)], [content, to_triggers])


def instances(record: WorkflowRecord, page: Page[Instance], status: Status | None, *, first: bool) -> bytes:
    """Return one page of a workflow's instances."""
    rows: list[list[Child]] = [
        [
            tag("a", item.id, href=address("workflows", record.name, "instances", item.id)),
            badge(item.status),
            item.source.value,
            moment(item.created_at),
            moment(item.ended_at),
            between(item.started_at, item.ended_at),
        ]
        for item in page.items
    ]
    empty = tag("p", "There are no such instances.", class_="note")
    listed = table(["Instance", "Status", "Trigger", "Created", "Ended", "Duration"], rows) if rows else empty
    content = [_filter(record, status), listed, _pager(record.name, status, page.cursor, first=first)]
    return document(record.name, [("Workflows", address()), (record.name, None)], content)


def instance(snapshot: Snapshot, now: datetime, parent: Instance | None = None, log: Page[StoredLine] = _SILENCE) -> bytes:
    """Return one instance with its steps, their attempts and the first of what they have logged; `parent` is what has started it."""
    head = snapshot.instance
    crumbs: list[Crumb] = [("Workflows", address()), (head.workflow, address("workflows", head.workflow)), (head.id, None)]
    attempts: defaultdict[tuple[Kind, str, int], list[Attempt]] = defaultdict(list)
    for attempt in snapshot.attempts:
        attempts[attempt.kind, attempt.name, attempt.count].append(attempt)
    shown = snapshot.entries[-MAX_STEPS:]
    span = _span(head, shown, now)
    steps: list[Child] = [_step(entry, attempts[entry.kind, entry.name, entry.count], span, head) for entry in shown]
    if len(shown) < len(snapshot.entries):
        steps.insert(0, tag("p", f"The last {MAX_STEPS} of {len(snapshot.entries)} steps.", class_="note"))
    content = [
        _head(head, parent),
        failure(head.error),
        failure(head.rollback.error) if head.rollback is not None else None,
        tag("section", tag("h2", "Input"), value(head.params)),
        tag("section", tag("h2", "Output"), value(head.output)) if head.output is not None else None,
        tag("section", tag("h2", f"Steps ({len(snapshot.entries)})"), steps or tag("p", "None has begun yet.", class_="note")),
        _log(head, log) if log.items else None,
    ]
    return document(head.id, crumbs, content, refresh=head.status not in FINAL)


def _log(head: Instance, log: Page[StoredLine]) -> Markup:
    rows: list[list[Child]] = [
        [
            moment(stored.line.at),
            stored.line.level,
            f"{stored.name}-{stored.count}" + (f", attempt {stored.attempt}" if stored.attempt > 1 else ""),
            tag("pre", stored.line.message),
        ]
        for stored in log.items
    ]
    rest = f"These are the first {len(rows)} lines; hub workflows instances logs {head.workflow} {head.id} shows all."
    more = tag("p", rest, class_="note") if log.cursor is not None else None
    return tag("section", tag("h2", "Log"), table(["Time", "Level", "Step", "Message"], rows), more)


def problem(title: str, message: str) -> bytes:
    """Return a page that says what went wrong."""
    return document(title, [("Workflows", address()), (title, None)], tag("p", message), refresh=False)


def _count_links(record: WorkflowRecord) -> Child:
    links = [
        tag("a", f"{STATUS_WORDS[status]} {count}", href=_listing(record.name, status), class_=f"badge {status.value}")
        for status, count in record.counts.items()
        if count
    ]
    return [[link, " "] for link in links] or "none"


def _listing(name: str, status: Status | None, cursor: str | None = None) -> str:
    query = {key: text for key, text in (("status", status.value if status else None), ("cursor", cursor)) if text}
    return address("workflows", name) + (f"?{urlencode(query)}" if query else "")


def _filter(record: WorkflowRecord, chosen: Status | None) -> Markup:
    total = sum(record.counts.values())
    choices: list[tuple[Status | None, str, int]] = [(None, "All", total)]
    choices += [(status, word, record.counts.get(status, 0)) for status, word in STATUS_WORDS.items()]
    links = [
        tag("a", f"{word} {count}", href=_listing(record.name, status), aria_current="true" if status is chosen else None)
        for status, word, count in choices
        if count or status in (None, chosen)
    ]
    return tag("div", links, class_="filter")


def _pager(name: str, status: Status | None, cursor: str | None, *, first: bool) -> Markup:
    newest = None if first else tag("a", "← newest", href=_listing(name, status))
    older = None if cursor is None else tag("a", "older →", href=_listing(name, status, cursor), rel="next")
    return tag("div", newest, " ", older, class_="pager")


def _head(head: Instance, parent: Instance | None) -> Markup:
    pairs: list[tuple[str, Child]] = [
        ("Status", badge(head.status)),
        ("Trigger", [head.source.value, f" · {head.trigger}" if head.trigger else None]),
        ("Version", tag("code", head.version or NOTHING)),
        *_rare(head, parent),
        ("Queued", moment(head.created_at)),
        ("Started", moment(head.started_at)),
        ("Ended", moment(head.ended_at)),
        ("Duration", between(head.started_at, head.ended_at)),
    ]
    if head.status is Status.WAITING and head.wake_at is not None:
        pairs.append(("Goes on", moment(head.wake_at)))
    if head.schedule is not None:
        pairs.append(("Schedule", [tag("code", head.schedule.cron), " at ", moment(head.schedule.scheduled_at)]))
    return facts(pairs)


def _rare(head: Instance, parent: Instance | None) -> list[tuple[str, Child]]:
    """Return what most instances have not."""
    pairs: list[tuple[str, Child]] = []
    if head.labels.tags:
        pairs.append(("Tags", ", ".join(head.labels.tags)))
    pairs += [(key, str(text_of(value))) for key, value in head.labels.metadata.items()]
    if head.version_ran not in (None, head.version):
        pairs.append(("Version that ran last", tag("code", head.version_ran)))
    if parent is not None:
        pairs.append(("Started by", _link(parent.workflow, parent.id)))
    if head.rollback is not None:
        pairs.append(("Rollback", "Complete" if head.rollback.complete else "Failed"))
    return pairs


def _link(workflow: str, id: str) -> Markup:
    return tag("a", f"{workflow} {id}", href=address("workflows", workflow, "instances", id))


def _child(entry: Entry) -> Child:
    if entry.child is None:
        return None
    workflow, _, id = entry.child.partition("/")  # names of workflows hold no slash, ids may
    return tag("p", "instance ", _link(workflow, id), class_="times")


def _output(entry: Entry) -> Child:
    if entry.output is None or entry.kind in (Kind.SLEEP, Kind.ROLLBACK):
        return None
    if entry.config is not None and entry.config.sensitive:
        return tag("p", "The output is hidden: the step is sensitive.", class_="note")
    return value(entry.output)


def _step(entry: Entry, failed: list[Attempt], span: tuple[datetime, datetime], head: Instance) -> Markup:
    state, word = _state(entry, live=head.status not in FINAL)
    waits = entry.state is State.WAITING and head.status not in FINAL and entry.wake_at is not None
    title = [tag("strong", entry.target), tag("span", _KIND_WORDS[entry.kind], class_="kind"), tag("span", word, class_=f"badge {state}")]
    line = tag("p", moment(entry.started_at), " · ", between(entry.started_at, entry.ended_at), class_="times")
    return tag(
        "article",
        tag("h3", [[part, " "] for part in title]),
        line,
        tag("p", "goes on ", moment(entry.wake_at), class_="times") if waits else None,
        tag("p", "event type ", tag("code", entry.event_type), class_="times") if entry.kind is Kind.EVENT else None,
        _child(entry),
        _bar(entry, span),
        _attempts(entry, failed, under_way="running" if head.status not in FINAL else "stopped"),
        failure(entry.error) if entry.kind not in _TRIED else None,
        _output(entry),
    )


def _state(entry: Entry, *, live: bool) -> tuple[str, str]:
    """Return the class and the word of a step's state; what had not ended when its instance did has been stopped."""
    if entry.state is State.DONE:
        return "complete", "Done"
    if entry.state is State.FAILED:
        return "errored", "Failed"
    if not live:
        return "terminated", "Stopped"
    if entry.state is State.RUNNING:
        return "running", "Running"
    return "waiting", "Between two attempts" if entry.kind in _TRIED else "Waiting"


def _attempts(entry: Entry, failed: list[Attempt], *, under_way: str) -> Child:
    """Show the attempts of a step that did not succeed at once."""
    rows: list[list[Child]] = [
        [row.number, moment(row.started_at), between(row.started_at, row.ended_at), failure(row.error)] for row in failed
    ]
    if entry.kind in _TRIED and entry.state is not State.WAITING and all(row.number != entry.attempt for row in failed):
        result = failure(entry.error) or {State.DONE: "succeeded", State.RUNNING: under_way}.get(entry.state)
        started = entry.attempt_started_at or entry.started_at
        rows.append([entry.attempt, moment(started), between(started, entry.ended_at), result])
    trivial = entry.state is State.DONE and len(rows) == 1
    return None if trivial or not rows else table(["Attempt", "Start", "Duration", "Result"], rows, class_="attempts")


def _span(head: Instance, entries: tuple[Entry, ...], now: datetime) -> tuple[datetime, datetime]:
    start = min([entry.started_at for entry in entries], default=head.created_at)
    return start, max(head.ended_at or now, start + timedelta(milliseconds=1))


def _bar(entry: Entry, span: tuple[datetime, datetime]) -> Markup:
    """Draw when the step ran within the life of the instance; attributes of SVG need no inline style."""
    start, end = span
    whole = (end - start).total_seconds()
    left = max(0.0, min((entry.started_at - start).total_seconds() / whole, 0.995))
    right = max(left, min(((entry.ended_at or end) - start).total_seconds() / whole, 1.0))
    rect = tag("rect", x=f"{left:.2%}", width=f"{max(right - left, 0.005):.2%}", height="100%", class_=entry.state.value)
    return tag("svg", joined(rect), class_="bar", role="presentation", height="6")
