"""What a group of writes needs of the database: what it knows of the things that the group names, and to run the group's rows.

Programs; the rules are those of `group`, and nothing is decided here. The locks of a group are always taken in one order: heads by key,
then triggers by name, then deliveries by id; and before all of them the turn of flow control, where it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hub.core.delivery import DeliveryStatus
from hub.core.lifecycle import Head
from hub.core.model import Status
from hub.core.writes import Begin, CreateInstance, FailAttempt, Finish, Park, SettleStep, StartChild, Steer
from hub.store import deliveries, lines, rows
from hub.store import statements as sql
from hub.store.group import Planned
from hub.store.heads import read_heads
from hub.store.plan import Existing, Known, Rows, Stored
from hub.store.program import HeadsOf, Program, Row, each, fetch, many, numbers

_ENDING = (Finish, Steer)  # after which a child may have ended
_LOGGING = (SettleStep, FailAttempt)
_REVISIONS = 4  # that a write takes at most, beside those of its entries
_TEXT, _TEXTS, _KEY, _PLACE = ("text",), ("text", "text"), ("bigint",), ("bigint", "text")


def known_of(writes: Sequence[Planned]) -> Program[Known]:
    """Load what the database knows of all that some writes name."""
    changed: set[int] = set()
    ending: set[int] = set()
    logging: set[int] = set()
    created: list[CreateInstance] = []
    revisions = _REVISIONS * len(writes)
    for write in writes:
        if isinstance(write, CreateInstance):
            created.append(write)
            continue
        changed.add(write.instance)
        if isinstance(write, _LOGGING):
            if write.logged is not None:
                logging.add(write.instance)
        elif isinstance(write, _ENDING):
            ending.add(write.instance)
        elif isinstance(write, StartChild):
            created.append(CreateInstance(new=write.new))
        elif isinstance(write, Begin):
            revisions += 2 * len(write.started)
        elif isinstance(write, Park):
            revisions += len(write.entries)
    known = yield from known_heads(changed, ending)
    if logging:
        yield from _look_up_lines(logging, known)
    if created:
        yield from _look_up(created, known)
    known.keys, known.revs = yield from numbers(len(created), revisions)
    return known


def known_heads(changed: Iterable[int], ending: Iterable[int]) -> Program[Known]:
    """Load the heads that a group changes, and those of the parents that wait for one of them, which may be `ending`.

    They are locked, all in one statement, so that no two groups wait for each other.
    """
    nothing: dict[str, Any] = {name: {} for name in ("awaited", "workflows", "seen", "taken", "logged", "deliveries", "cursors")}
    known = Known(heads={}, **nothing, keys=iter(()), revs=iter(()))
    ended = sorted(ending)
    known.heads = yield HeadsOf(sorted(changed), ended, read_heads)
    children = [key for key in ended if key in known.heads and known.heads[key].parent is not None]
    if children:
        awaited = yield from fetch(sql.AWAITED, children)
        known.awaited = {key: (parent, type) for key, parent, type in awaited}
    return known


def head_of(key: int) -> Program[Head | None]:
    """Load and lock one head."""
    found = yield from fetch(sql.HEADS, [key])
    return rows.head_of(found[0]) if found else None


def _look_up_lines(logging: set[int], known: Known) -> Program[None]:
    keys = sorted(logging)
    totals = yield from each(lines.TOTAL, _KEY, [(key,) for key in keys])
    for key, found in zip(keys, totals, strict=True):
        known.logged[key] = found[0][0] if found else 0


def _look_up(created: Sequence[CreateInstance], known: Known) -> Program[None]:
    """Find what new instances could collide with, each question once for all of them."""
    moving = sorted({write.new.trigger for write in created if write.cursor is not None and write.new.trigger is not None})
    cursors = yield from each(deliveries.CURSOR, _TEXT, [(name,) for name in moving])
    known.cursors = {name: found[0][0] for name, found in zip(moving, cursors, strict=True) if found}

    replayed = sorted({write.replays for write in created if write.replays is not None})
    stored = yield from each(deliveries.STATUS, _TEXT, [(id,) for id in replayed])
    known.deliveries = {
        id: Stored(found[0][0] == DeliveryStatus.REPLAYED, found[0][1]) for id, found in zip(replayed, stored, strict=True) if found
    }

    names = sorted({write.new.workflow for write in created})
    workflows = yield from each(sql.WORKFLOW_KEY, _TEXT, [(name,) for name in names])
    known.workflows = {name: found[0][0] for name, found in zip(names, workflows, strict=True) if found}

    keys = dict.fromkeys((write.new.trigger, write.new.dedupe_key) for write in created)
    events = [(trigger, key) for trigger, key in keys if trigger is not None and key is not None]
    seen = yield from each(sql.SEEN, _TEXTS, events)
    known.seen = {event: _existing(found[0]) for event, found in zip(events, seen, strict=True) if found}

    for text, idempotent in ((sql.TAKEN, False), (sql.TAKEN_WITH, True)):
        places = [
            (known.workflows[write.new.workflow], write.new.id, write.new.workflow)
            for write in created
            if write.idempotent is idempotent and not write.new.generated_id and write.new.workflow in known.workflows
        ]
        taken = yield from each(text, _PLACE, [place[:2] for place in places])
        for (_, id, workflow), found in zip(places, taken, strict=True):
            if found:
                known.taken[workflow, id] = _existing(found[0])


def _existing(row: Row) -> Existing:
    key, id, status, *params = row
    return Existing(key, id, None if status is None else Status(status), params[0] if params else None)


def run(planned: Rows) -> Program[None]:
    """Run the rows of a plan, kind by kind."""
    for statement, values in (
        (sql.INSERT_INSTANCE, planned.instances),
        (sql.INSERT_LABEL, planned.labels),
        (sql.INSERT_SEEN, planned.seen),
        (deliveries.SETTLE, planned.settled),
        (deliveries.ADVANCE, [(cursor, trigger) for trigger, cursor in sorted(planned.cursors.items())]),
        (sql.TRIGGERED, [(at, workflow) for workflow, at in sorted(planned.triggered.items())]),
        (sql.UPSERT_STEP, planned.steps),
        (lines.INSERT, planned.lines),
        (sql.BEGIN_ATTEMPT, planned.begun),
        (sql.UPSERT_ATTEMPT, planned.attempts),
        (sql.INSERT_HISTORY, planned.history),
        (sql.INSERT_EVENT, planned.events),
        (sql.CONSUME_EVENT, planned.consumed),
        (sql.SHIFT_TIMERS, planned.shifts),
        (sql.UPDATE_HEAD, planned.heads),
        (sql.UPDATE_RESULT, planned.results),
        (sql.UPDATE_END, planned.ends),
        (sql.UPDATE_ALL, planned.all),
    ):
        if values:
            yield from many(statement, values)


def forget(keys: Sequence[int]) -> Program[None]:
    """Delete instances with all that hangs on them; only which events of triggers were seen stays known."""
    if keys:
        for statement in (sql.KEEP_SEEN, sql.KEEP_JOINED, *sql.DELETE_CHILDREN, sql.DELETE_INSTANCES):
            yield from fetch(statement, [*keys])
