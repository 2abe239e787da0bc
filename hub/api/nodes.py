"""The resource of nodes: the processes that share the store, what each says of itself, its lease and its load.

Only reads. Every node answers for all, because all of it lies in the store. The id of a node is its number, as text.
"""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

from hub.api.envelope import result_info, timestamp
from hub.api.operation import Answer, Call, Operation
from hub.api.shapes import PageQuery
from hub.core.access import Scope
from hub.core.clock import Clock
from hub.core.errors import NotFound
from hub.core.nodes import NodeQuery, NodeRecord
from hub.core.ports import Engine

_MOST = 1000  # nodes in one answer
_DIGITS = 18  # of a number that a database can hold


class NodeItem(TypedDict):
    """A node. `instances` is how many it has claimed now; `lease_until` is absent once it has given its lease back.

    `schema` is the one of the database that its version of the hub knows.
    """

    id: str
    host: str
    pid: int
    version: str
    schema: str
    url: str | None
    roles: list[str]
    workflows: list[str]
    slots: int
    instances: int
    started_on: str
    lease_until: NotRequired[str]
    alive: bool


class Nodes:
    """Handlers of `/nodes`."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def list(self, call: Call[PageQuery, None]) -> Answer:
        """Return one page of nodes, oldest first."""
        query = call.query
        known = (await self._engine.find(NodeQuery(now=self._clock.now(), limit=_MOST))).items
        items = [_item(node) for node in known[query.offset : query.offset + query.per_page]]
        return Answer(
            result=items, info=result_info(count=len(items), per_page=query.per_page, page=query.page, total=len(known), cursor=None)
        )

    async def get(self, call: Call[None, None]) -> Answer:
        """Return one node. Raises: NotFound."""
        id = call.path["node"]
        if id.isascii() and id.isdigit() and len(id) <= _DIGITS:
            page = await self._engine.find(NodeQuery(now=self._clock.now(), key=int(id)))
            if page.items:
                return Answer(result=_item(page.items[0]))
        raise NotFound(f'node "{id[:64]}" not found; `hub nodes list` shows those that there are', code="node.not_found")


def rows(nodes: Nodes, account: str) -> tuple[Operation, ...]:
    """Return the rows of the route table, below the path of an account."""
    return (
        Operation(
            name="listNodes", method="GET", path=account + "/nodes", handler=nodes.list, scope=Scope.READ, query=PageQuery,
            summary="List the nodes that share the store, oldest first, with their leases and their load.",
            result=list[NodeItem], listing=True,
        ),
        Operation(
            name="getNode", method="GET", path=account + "/nodes/{node}", handler=nodes.get, scope=Scope.READ, summary="Read one node.",
            result=NodeItem, errors=("node.not_found",),
        ),
    )  # fmt: skip


def _item(node: NodeRecord) -> NodeItem:
    about = node.about
    item = NodeItem(
        id=str(node.key),
        host=about.host,
        pid=about.pid,
        version=about.version,
        schema=about.schema,
        url=about.url,
        roles=[role.value for role in about.roles],
        workflows=[*about.workflows],
        slots=about.slots,
        instances=node.instances,
        started_on=timestamp(node.started_at),
        alive=node.alive,
    )
    if node.lease_until is not None:
        item["lease_until"] = timestamp(node.lease_until)
    return item
