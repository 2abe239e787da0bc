"""The nodes of the store: their SQL and their rows."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

from hub.core.model import Page
from hub.core.nodes import NodeAbout, NodeQuery, NodeRecord, Role
from hub.store.columns import micros, moment
from hub.store.program import Program, Row, fetch

_NODES = """
SELECT n.key, n.lease_until, n.lease_until > lease_clock(?), n.started_at, n.info,
(SELECT count(*) FROM instance i WHERE i.node = n.key AND i.ended_at IS NULL)
FROM node n WHERE n.key = coalesce(?, n.key) ORDER BY n.key LIMIT ?
"""
_KNOWN = frozenset(field.name for field in fields(NodeAbout))
_ROLES = frozenset(Role)


def about_text(about: NodeAbout) -> str:
    """Return what a node says of itself as it is stored."""
    return json.dumps(asdict(about))


def find_nodes(query: NodeQuery) -> Program[Page[NodeRecord]]:
    """Read the nodes, oldest first."""
    found = yield from fetch(_NODES, micros(query.now), query.key, query.limit)
    return Page(items=tuple(map(_record, found)))


def _record(row: Row) -> NodeRecord:
    key, lease_until, alive, started_at, info, instances = row
    return NodeRecord(
        key=key,
        about=_about(info),
        started_at=moment(started_at),
        lease_until=moment(lease_until) if lease_until else None,
        alive=bool(alive),
        instances=instances,
    )


def _about(info: str) -> NodeAbout:
    said = {name: value for name, value in json.loads(info).items() if name in _KNOWN}  # a newer hub may say more
    roles = tuple(Role(role) for role in said["roles"] if role in _ROLES)
    return NodeAbout(**{**said, "roles": roles, "workflows": tuple(said["workflows"])})
