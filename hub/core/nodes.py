"""Nodes: the processes that share one store, what each says of itself, what it may do, and what they signal to each other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

SOMETHING_DUE = 0  # signals that are no key of an instance: keys start at 1
SOMETHING_CHANGED = -1  # a token or a trigger, perhaps by another node
SOMETHING_SENT = -2  # a message of some queue of the hub has come, or has come back


class Role(StrEnum):
    """What a node does: it takes events and requests in, or it executes instances."""

    INTAKE = "intake"
    RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAbout:
    """What a node says of itself when it registers."""

    host: str
    pid: int
    version: str = ""  # of the hub
    url: str | None = None  # where it listens, if it does
    roles: tuple[Role, ...] = (Role.INTAKE, Role.RUN)
    workflows: tuple[str, ...] = ()  # that it executes
    slots: int = 0  # instances that it executes at once
    schema: str = ""  # of the database, that it knows; its store says which


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A node that the store knows. `instances` is how many it has claimed; `alive` = its lease has not ended."""

    key: int
    about: NodeAbout
    started_at: datetime
    lease_until: datetime | None  # None = it has given its lease back
    alive: bool
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeQuery:
    """The nodes that the store knows, oldest first; with `key` that one."""

    now: datetime
    key: int | None = None
    limit: int = 1000


Workflows = Collection[str] | None
"""Names of the workflows whose instances a node may claim; None = of all."""
