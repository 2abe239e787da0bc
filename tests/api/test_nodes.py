"""The nodes over REST: what each says of itself, its lease and its load."""

from __future__ import annotations

import os

from hub.store.schema import NEWEST
from tests.api.node import ACCOUNT, Node

NODES = f"/client/v4/accounts/{ACCOUNT}/nodes"


async def test_a_node_is_listed_and_read_by_its_number(node: Node) -> None:
    listed = await node.call("GET", NODES)
    (found,) = listed.result
    assert (await node.call("GET", f"{NODES}/{found['id']}")).result == found
    assert listed.body["result_info"] == {"count": 1, "per_page": 50, "page": 1, "total_count": 1, "total_pages": 1}
    assert (found["pid"], found["roles"], found["alive"], found["instances"]) == (os.getpid(), ["intake", "run"], True, 0)
    assert found["schema"] == NEWEST
    assert found["lease_until"] > found["started_on"]
    assert (await node.call("GET", f"{NODES}?page=2")).result == []


async def test_a_node_that_there_is_not_is_not_found(node: Node) -> None:
    for id in ("99", "first", "9" * 40, "-1", "²"):
        assert (await node.call("GET", f"{NODES}/{id}")).failure[:2] == (404, 10956)
