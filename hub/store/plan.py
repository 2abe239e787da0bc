"""What a group of writes is planned from, and the rows that the plan consists of. Values only; `group` fills and reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hub.core.lifecycle import Head
from hub.core.model import Status
from hub.store.program import Row


@dataclass(frozen=True, slots=True)
class Existing:
    """An instance that a new one collides with. `status` is None when it was deleted since; `params` are loaded where they decide."""

    key: int
    id: str
    status: Status | None
    params: bytes | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored delivery. `instance_id` is what it has created, when it is replayed."""

    replayed: bool
    instance_id: str | None = None


@dataclass(slots=True, kw_only=True)
class Known:
    """What the database says about the things that a group names; loaded inside its transaction.

    `awaited` names the entry of the parent's journal that waits for a child, by the child's key: the parent's key and the entry's inbox
    type. It holds no child whose parent does not wait for it (any more): the parent had no more patience, or has been restarted and has
    started another child under the same inbox type, to which the end of the old one means nothing.
    """

    heads: dict[int, Head]
    awaited: dict[int, tuple[int, str]]
    workflows: dict[str, int]  # key by name
    seen: dict[tuple[str, str], Existing]  # by trigger and dedupe key
    taken: dict[tuple[str, str], Existing]  # by workflow name and id
    logged: dict[int, int]  # bytes of the lines that an instance has logged, by key
    deliveries: dict[str, Stored]  # those that new instances settle, by id
    cursors: dict[str, int]  # of triggers whose cursors new instances move, by name
    keys: Iterator[int]  # numbers for new instances
    revs: Iterator[int]


@dataclass(slots=True)
class Rows:
    """The row operations of one group, a list for each kind, to be run in the order of these fields."""

    instances: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    seen: list[Row] = field(default_factory=list)
    settled: list[Row] = field(default_factory=list)  # stored deliveries that created an instance
    cursors: dict[str, int] = field(default_factory=dict)  # the latest by name of the trigger
    triggered: dict[int, int] = field(default_factory=dict)  # last creation time by key of the workflow
    steps: list[Row] = field(default_factory=list)
    lines: list[Row] = field(default_factory=list)
    begun: list[Row] = field(default_factory=list)  # attempts after the first one
    attempts: list[Row] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    consumed: list[Row] = field(default_factory=list)
    shifts: list[Row] = field(default_factory=list)  # by how many microseconds the timers of an instance move
    heads: list[Row] = field(default_factory=list)
    results: list[Row] = field(default_factory=list)  # heads whose result changes too
    ends: list[Row] = field(default_factory=list)  # heads that were terminated
    all: list[Row] = field(default_factory=list)  # heads of which anything may have changed
