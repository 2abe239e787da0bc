"""The nodes of the store: their SQL and their rows.

Runs inside a transaction of its caller.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict

from hub.core.model import Page
from hub.core.nodes import NodeAbout, NodeQuery, NodeRecord, Role
from hub.store.columns import micros, moment
from hub.store.rows import Row

_NODES = """
SELECT n.key, n.lease_until, n.started_at, n.info, (SELECT count(*) FROM instance i WHERE i.node = n.key AND i.ended_at IS NULL)
FROM node n WHERE n.key = coalesce(?, n.key) ORDER BY n.key LIMIT ?
"""


def about_text(about: NodeAbout) -> str:
    """Return what a node says of itself as it is stored."""
    return json.dumps(asdict(about))


def find_nodes(db: sqlite3.Connection, query: NodeQuery) -> Page[NodeRecord]:
    """Read the nodes, oldest first."""
    now = micros(query.now)
    return Page(items=tuple(_record(row, now) for row in db.execute(_NODES, (query.key, query.limit))))


def _record(row: Row, now: int) -> NodeRecord:
    key, lease_until, started_at, info, instances = row
    return NodeRecord(
        key=key,
        about=_about(info),
        started_at=moment(started_at),
        lease_until=moment(lease_until) if lease_until else None,
        alive=lease_until > now,
        instances=instances,
    )


def _about(info: str) -> NodeAbout:
    said = json.loads(info)
    return NodeAbout(**{**said, "roles": tuple(map(Role, said["roles"])), "workflows": tuple(said["workflows"])})
