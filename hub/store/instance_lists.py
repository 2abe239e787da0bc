"""Lists of instances: how a page is found without reading what is not on it.

A page of a workflow is merged from one walk along the status index for each status, or found along the rarest of the labels that are asked
for. Every walk is in the order of the list, by time of creation and then by key, so that a page costs what it holds, however many instances
there are; whatever else is asked for is looked up on the way. No value ever becomes part of a text. Never writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hub.core.errors import Rejected
from hub.core.model import Instance, InstanceQuery, Page, Status
from hub.store import statements as sql
from hub.store.columns import micros
from hub.store.cursors import cursor_of, place_of
from hub.store.program import Program, Row, fetch, first
from hub.store.rows import instance_of

_MANY = 20_000  # more labels or instances are not counted before a walk is chosen: that would cost more than it saves
_NO_BOUND = "/*+ + */"  # SQLite looks up no index by an expression
_OF_STATUS = "instance i /*+ INDEXED BY instance_status */"
_LABELLED = "SELECT 1 FROM label l WHERE l.workflow = ? AND l.name = ? AND l.value = ?"
_HAS_LABEL = """EXISTS (SELECT 1 FROM label h
WHERE h.workflow = i.workflow AND h.name = ? AND h.value = ? AND h.created_at = i.created_at AND h.instance = i.key)"""

Filed = tuple[str, str]  # a label as it is looked for: name and text


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
class _Walk:
    """Where the instances of a list come from: `arms` that are merged, each with its own conditions, in the words of `at` and `key`."""

    source: str
    at: str
    key: str
    arms: tuple[_Where, ...]


def find_instances(query: InstanceQuery) -> Program[Page[Instance]]:
    """Read one page of instances. Raises: Rejected when the cursor is not of such a list."""
    place = None if query.cursor is None else place_of(query.cursor, 2)
    if place is not None and query.offset:
        raise Rejected("a page has a cursor or an offset, not both", code="query.invalid")
    walk = yield from _walk(query)
    if walk is None:
        return Page(items=(), total=0 if query.total else None)
    found = yield from _page(query, walk, place)
    items = tuple(map(instance_of, found[: query.limit]))
    more = len(found) > query.limit and items
    return Page(
        items=items,
        cursor=cursor_of(micros(items[-1].created_at), items[-1].key) if more else None,
        total=(yield from _count(query, walk)) if query.total else None,
    )


def _page(query: InstanceQuery, walk: _Walk, place: tuple[int, ...] | None) -> Program[list[Row]]:
    """Read the rows of a page, and one more."""
    order = "ASC" if query.ascending else "DESC"
    arms, values = list[str](), list[object]()
    for arm in walk.arms:
        where = _Where([*arm.texts], [*arm.values])
        _bound(where, query, walk.at, walk.key, place)
        _look_up(where, query)
        arms.append(f"SELECT {walk.at} AS at, {walk.key} AS key FROM {walk.source}{where}")
        values += where.values
    page = f"{' UNION ALL '.join(arms)} ORDER BY 1 {order}, 2 {order} LIMIT ? OFFSET ?"
    columns = sql.HEAD if query.heads else f"{sql.HEAD}{sql.LARGE}"
    whole = "FROM page p /*+ CROSS */ JOIN instance i ON i.key = p.key JOIN workflow w ON w.key = i.workflow"
    text = f"WITH page (at, key) AS ({page}) {columns} {whole} ORDER BY p.at {order}, p.key {order}"
    return (yield from fetch(text, *values, query.limit + 1, query.offset))


def _count(query: InstanceQuery, walk: _Walk) -> Program[int]:
    total = 0
    for arm in walk.arms:
        where = _Where([*arm.texts], [*arm.values])
        _bound(where, query, walk.at, walk.key, None)
        _look_up(where, query)
        ((number,),) = yield from fetch(f"SELECT count(*) FROM {walk.source}{where}", *where.values)
        total += number
    return total


# ---- which way


def _walk(query: InstanceQuery) -> Program[_Walk | None]:
    """Choose the way to the instances; None = there are none."""
    if query.workflow is None or query.id is not None or query.key is not None or query.parent is not None:
        return _few(query)
    found = yield from first(sql.WORKFLOW_KEY, query.workflow)
    if found is None:
        return None
    rarest, number = yield from _rarest(query, found[0])
    if rarest is None or (query.statuses and (yield from _number(query, found[0])) < number):
        return _by_status(query, found[0])
    arm = _Where()
    arm.add("l.workflow = ? AND l.name = ? AND l.value = ?", found[0], *rarest)
    if query.statuses:
        arm.add(*_one_of(query.statuses))
    return _Walk(source="label l /*+ CROSS */ JOIN instance i ON i.key = l.instance", at="l.created_at", key="l.instance", arms=(arm,))


def _few(query: InstanceQuery) -> _Walk:
    """Return the way to instances that are named, or to those of all workflows, which nobody asks for who has many."""
    arm = _Where()
    if query.workflow is not None:
        arm.add(f"{_NO_BOUND if query.parent is not None else ''}i.workflow = (SELECT key FROM workflow WHERE name = ?)", query.workflow)
    for column, value in (("id", query.id), ("key", query.key), ("parent", query.parent)):
        if value is not None:
            arm.add(f"i.{column} = ?", value)
    if query.statuses:
        text, *values = _one_of(query.statuses)
        arm.add(f"{_NO_BOUND}{text}", *values)
    return _Walk(source="instance i", at="i.created_at", key="i.key", arms=(arm,))


def _by_status(query: InstanceQuery, workflow: int) -> _Walk:
    arms = []
    for status in sorted(query.statuses or Status):
        arms.append(_Where())
        arms[-1].add("i.workflow = ? AND i.status = ?", workflow, status.value)
    return _Walk(source=_OF_STATUS, at="i.created_at", key="i.key", arms=tuple(arms))


def _rarest(query: InstanceQuery, workflow: int) -> Program[tuple[Filed | None, int]]:
    """Return the label that the fewest instances carry, and how many those are, or `_MANY`."""
    rarest, fewest = None, _MANY
    for filed in query.labels.filed():
        where = _Where()
        _bound(where, query, "l.created_at", "l.instance", None)
        text = "".join(f" AND {condition}" for condition in where.texts)
        counted = f"SELECT count(*) FROM ({_LABELLED}{text} LIMIT ?) AS counted"
        ((found,),) = yield from fetch(counted, workflow, *filed, *where.values, fewest)
        if rarest is None or found < fewest:
            rarest, fewest = filed, found
    return rarest, fewest


def _number(query: InstanceQuery, workflow: int) -> Program[int]:
    """Count the instances of the statuses that are asked for, up to `_MANY`."""
    where = _Where()
    where.add("i.workflow = ?", workflow)
    where.add(*_one_of(query.statuses))
    _bound(where, query, "i.created_at", "i.key", None)
    counted = f"SELECT count(*) FROM (SELECT 1 FROM {_OF_STATUS}{where} LIMIT ?) AS counted"
    ((number,),) = yield from fetch(counted, *where.values, _MANY)
    return int(number)


# ---- conditions


def _bound(where: _Where, query: InstanceQuery, at: str, key: str, place: tuple[int, ...] | None) -> None:
    """Add what bounds a walk: the range of creation, and the place after which the page begins."""
    earliest = None if query.created_from is None else micros(query.created_from)
    latest = None if query.created_to is None else micros(query.created_to)
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
    for column, since, until in (
        ("modified_at", query.modified_from, query.modified_to),
        ("ended_at", query.ended_from, query.ended_to),
    ):
        if since is not None:
            where.add(f"i.{column} >= ?", micros(since))
        if until is not None:
            where.add(f"i.{column} <= ?", micros(until))
    for name, text in query.labels.filed():
        where.add(_HAS_LABEL, name, text)


def _one_of(statuses: frozenset[Status]) -> tuple[str, ...]:
    return (f"i.status IN ({', '.join('?' * len(statuses))})", *sorted(status.value for status in statuses))
