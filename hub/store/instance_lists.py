"""Lists of instances: how a page is found without reading what is not on it.

A page of a workflow is merged from one walk along the status index for each status, or found along the label, the trigger or the version
that fewest instances have: these walks are in the order of the list, by time of creation and then by key, so that a page costs what it
holds, however many instances there are; whatever else is asked for is looked up on the way. Or, where few have ended in the span of time
that is asked for, all those are read. No value ever becomes part of a text. Never writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from hub.core.errors import Rejected
from hub.core.labels import NO_LABELS
from hub.core.model import FINAL, Instance, InstanceQuery, Page, Status
from hub.store import statements as sql
from hub.store.columns import micros
from hub.store.cursors import cursor_of, place_of
from hub.store.program import Program, Row, fetch, first
from hub.store.rows import instance_of
from hub.store.totals import Totals

MANY = 50_000  # more labels or instances are not counted before a walk is chosen: that would cost more than it saves
_DEEP = 2000  # instances before a page and on it
_NO_BOUND = "/*+ + */"  # SQLite looks up no index by an expression
_OF_STATUS = "instance i /*+ INDEXED BY instance_status */"
_OF_TRIGGER = "instance i /*+ INDEXED BY instance_trigger */"
_OF_VERSION = "instance i /*+ INDEXED BY instance_version */"
_ENDED = "instance i /*+ INDEXED BY instance_ended */"
_OF_LABEL = "label l /*+ CROSS */ JOIN instance i ON i.key = l.instance"
_HAS_LABEL = """EXISTS (SELECT 1 FROM label h
WHERE h.workflow = i.workflow AND h.name = ? AND h.value = ? AND h.created_at = i.created_at AND h.instance = i.key)"""


@dataclass(slots=True)
class _Where:
    """Conditions that hold together, and their values."""

    texts: list[str] = field(default_factory=list)
    values: list[object] = field(default_factory=list)

    def add(self, text: str, *values: object) -> None:
        self.texts.append(text)
        self.values += values

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self.texts)}" if self.texts else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arm:
    """Where some instances of a list come from, in the words of `at` and `key`, by conditions that an index answers.

    `counted` is where they are counted. One that is not `ordered` is in no order of the list: it is all read, and only if that is little.
    """

    source: str
    counted: str = ""
    at: str = "i.created_at"
    key: str = "i.key"
    where: _Where
    ordered: bool = True


_Walk = tuple[_Arm, ...]  # of which no two have an instance in common


def find_instances(query: InstanceQuery, totals: Totals) -> Program[Page[Instance]]:
    """Read one page of instances. Raises: Rejected when the cursor is not of such a list."""
    place = None if query.cursor is None else place_of(query.cursor, 2)
    if place is not None and query.offset:
        raise Rejected("a page has a cursor or an offset, not both", code="query.invalid")
    walk = yield from _walk(query)
    if not walk:
        return Page(items=(), total=0 if query.total else None)
    found = yield from _page(query, walk, place)
    items = tuple(map(instance_of, found[: query.limit]))
    total = None
    if query.total:
        asked = repr(replace(query, cursor=None, offset=0, limit=0, ascending=False, heads=True))
        ((total,),) = yield from totals.of(asked, lambda: _count(query, walk))
    more = len(found) > query.limit and items
    return Page(
        items=items,
        cursor=cursor_of(micros(items[-1].created_at), items[-1].key) if more else None,
        total=total,
    )


def _page(query: InstanceQuery, walk: _Walk, place: tuple[int, ...] | None) -> Program[list[Row]]:
    """Read the rows of a page, and one more.

    An arm gives no more than that either, because PostgreSQL would read all of it to merge it; unless the page is so deep in the list that
    to merge while reading is cheaper than to put into order what was read.
    """
    order = "ASC" if query.ascending else "DESC"
    most = query.offset + query.limit + 1
    arms, values = list[str](), list[object]()
    for arm in walk:
        where = _conditions(query, arm, place)
        chosen = f"SELECT {arm.at} AS at, {arm.key} AS key FROM {arm.source}{where}"
        values += where.values
        if arm.ordered and most <= _DEEP:
            chosen = f"SELECT at, key FROM ({chosen} ORDER BY 1 {order}, 2 {order} LIMIT ?) AS arm"
            values.append(most)
        arms.append(chosen)
    page = f"{' UNION ALL '.join(arms)} ORDER BY 1 {order}, 2 {order} LIMIT ? OFFSET ?"
    columns = sql.HEAD if query.heads else f"{sql.HEAD}{sql.LARGE}"
    whole = "FROM page p /*+ CROSS */ JOIN instance i ON i.key = p.key JOIN workflow w ON w.key = i.workflow"
    text = f"WITH page (at, key) AS ({page}) {columns} {whole} ORDER BY p.at {order}, p.key {order}"
    return (yield from fetch(text, *values, query.limit + 1, query.offset))


def _count(query: InstanceQuery, walk: _Walk) -> Program[list[Row]]:
    """Count what is on a walk; where only a label is asked for, without looking up the instances."""
    alone = replace(query, labels=NO_LABELS) if len([*query.labels.filed()]) == 1 else query
    total = 0
    for arm in walk:
        if arm.counted and not _looks_up(alone):
            source, where = arm.counted, _Where([*arm.where.texts], [*arm.where.values])
            _bound(where, query, arm.at, arm.key, None)
        else:
            source, where = arm.source, _conditions(query, arm, None)
        ((number,),) = yield from fetch(f"SELECT count(*) FROM {source}{where}", *where.values)
        total += number
    return [(total,)]


def _looks_up(query: InstanceQuery) -> bool:
    """Whether anything is asked for beside the workflow and the time of creation."""
    return any((
        query.statuses, query.trigger, query.version, [*query.labels.filed()], query.modified_from, query.modified_to, query.ended_from,
        query.ended_to,
    ))  # fmt: skip


def _conditions(query: InstanceQuery, arm: _Arm, place: tuple[int, ...] | None) -> _Where:
    where = _Where([*arm.where.texts], [*arm.where.values])
    _bound(where, query, arm.at, arm.key, place)
    _look_up(where, query)
    return where


# ---- which way


def _walk(query: InstanceQuery) -> Program[_Walk]:
    """Choose the way on which the fewest instances are; none = there are no instances."""
    if query.workflow is None or query.id is not None or query.key is not None or query.parent is not None:
        return _few(query)
    found = yield from first(sql.WORKFLOW_KEY, query.workflow)
    if found is None:
        return ()
    by_status = _by_status(found[0], query.statuses or frozenset(Status))
    best, fewest = by_status, MANY
    for arm in (*_labelled(query, found[0]), *_made_by(query, found[0]), *_ended(query, found[0])):
        number = yield from _number(query, (arm,), fewest)
        is_shorter = arm.ordered and not (query.statuses and arm.source == _OF_TRIGGER)  # the status index passes over other triggers
        if number < fewest or (number == MANY and is_shorter):
            best, fewest = (arm,), number
    if query.statuses and best != by_status and (yield from _number(query, by_status, fewest)) < fewest:
        best = by_status
    if best[0].source == _ENDED and not _spans_ends(query):
        best += _by_status(found[0], (query.statuses or frozenset(Status)) - FINAL)
    if query.statuses:
        for arm in best:
            if arm.source != _OF_STATUS:
                arm.where.add(*_one_of(query.statuses))
    return best


def _few(query: InstanceQuery) -> _Walk:
    """Return the way to instances that are named, or to those of all workflows, which nobody asks for who has many."""
    where = _Where()
    if query.workflow is not None:
        where.add(f"{_NO_BOUND if query.parent is not None else ''}i.workflow = (SELECT key FROM workflow WHERE name = ?)", query.workflow)
    for column, value in (("id", query.id), ("key", query.key), ("parent", query.parent)):
        if value is not None:
            where.add(f"i.{column} = ?", value)
    if query.statuses:
        text, *values = _one_of(query.statuses)
        where.add(f"{_NO_BOUND}{text}", *values)
    return (_Arm(source="instance i", where=where),)


def _by_status(workflow: int, statuses: frozenset[Status]) -> _Walk:
    arms = []
    for status in sorted(statuses):
        where = _Where()
        where.add("i.workflow = ? AND i.status = ?", workflow, status.value)
        arms.append(_Arm(source=_OF_STATUS, where=where))
    return tuple(arms)


def _labelled(query: InstanceQuery, workflow: int) -> Iterator[_Arm]:
    for filed in query.labels.filed():
        where = _Where()
        where.add("l.workflow = ? AND l.name = ? AND l.value = ?", workflow, *filed)
        yield _Arm(source=_OF_LABEL, counted="label l", at="l.created_at", key="l.instance", where=where)


def _made_by(query: InstanceQuery, workflow: int) -> Iterator[_Arm]:
    """Return the ways along what has made the instances: the trigger, the version."""
    for source, column, value in ((_OF_TRIGGER, "trigger", query.trigger), (_OF_VERSION, "version", query.version)):
        if value is not None:
            where = _Where()
            where.add(f"i.workflow = ? AND i.{column} = ?", workflow, value)
            yield _Arm(source=source, where=where)


def _ended(query: InstanceQuery, workflow: int) -> Iterator[_Arm]:
    """Return the way along the ends, where a span of them is asked for. What has ended was last modified then."""
    asked = (query.ended_from, query.ended_to) if _spans_ends(query) else (query.modified_from, query.modified_to)
    if asked != (None, None):
        where = _Where()
        where.add("i.workflow = ?", workflow)
        _between(where, "i.ended_at", *asked)
        yield _Arm(source=_ENDED, where=where, ordered=False)


def _spans_ends(query: InstanceQuery) -> bool:
    return query.ended_from is not None or query.ended_to is not None


def _number(query: InstanceQuery, walk: _Walk, most: int) -> Program[int]:
    """Count the instances on a way, up to so many."""
    number = 0
    for arm in walk:
        where = _Where([*arm.where.texts], [*arm.where.values])
        if arm.ordered:
            _bound(where, query, arm.at, arm.key, None)
        counted = f"SELECT count(*) FROM (SELECT 1 FROM {arm.counted or arm.source}{where} LIMIT ?) AS counted"
        ((found,),) = yield from fetch(counted, *where.values, most - number)
        number += found
    return number


# ---- conditions


def _bound(where: _Where, query: InstanceQuery, at: str, key: str, place: tuple[int, ...] | None) -> None:
    """Add what bounds a walk: the range of creation, which is before all else, and the place after which the page begins."""
    earliest = None if query.created_from is None else micros(query.created_from)
    latest = min((micros(to) for to in (query.created_to, query.modified_to, query.ended_to) if to is not None), default=None)
    if place is not None:
        behind = ">" if query.ascending else "<"
        where.add(f"({_NO_BOUND}{at} {behind} ? OR {key} {behind} ?)", *place)  # no bound of the index: that is the next one
        if query.ascending:
            earliest = place[0] if earliest is None else max(earliest, place[0])
        else:
            latest = place[0] if latest is None else min(latest, place[0])
    if earliest is not None:
        where.add(f"{at} >= ?", earliest)
    if latest is not None:
        where.add(f"{at} <= ?", latest)


def _look_up(where: _Where, query: InstanceQuery) -> None:
    """Add what is looked up on the way."""
    for column, value in (("trigger", query.trigger), ("version", query.version)):
        if value is not None:
            where.add(f"i.{column} = ?", value)
    _between(where, "i.modified_at", query.modified_from, query.modified_to)
    _between(where, "i.ended_at", query.ended_from, query.ended_to)
    for name, text in query.labels.filed():
        where.add(_HAS_LABEL, name, text)


def _between(where: _Where, column: str, since: datetime | None, until: datetime | None) -> None:
    if since is not None:
        where.add(f"{column} >= ?", micros(since))
    if until is not None:
        where.add(f"{column} <= ?", micros(until))


def _one_of(statuses: frozenset[Status]) -> tuple[str, ...]:
    return (f"i.status IN ({', '.join('?' * len(statuses))})", *sorted(status.value for status in statuses))
