"""The real wrangler looks after the hub's own queues."""

from __future__ import annotations

from tests.api.node import ACCOUNT, Node
from tests.clients.wrangler import Wrangler

QUEUES = f"/client/v4/accounts/{ACCOUNT}/queues"


async def test_wrangler_makes_lists_shows_purges_and_deletes_a_queue(program: Wrangler, open_hub: Node) -> None:
    hub = open_hub
    wrangler = program.told(
        CLOUDFLARE_API_BASE_URL=f"{hub.server.url}/client/v4", CLOUDFLARE_API_TOKEN="any", CLOUDFLARE_ACCOUNT_ID="local"
    )
    made = await wrangler("queues", "create", "orders")
    assert (made.code, "Created queue 'orders'" in made.text) == (0, True), made.text
    await hub.call("POST", f"{QUEUES}/orders/messages", json={"body": 1})

    listed, shown = await wrangler("queues", "list"), await wrangler("queues", "info", "orders")
    assert "orders" in listed.text
    assert "Queue Name: orders" in shown.text, shown.text

    purged = await wrangler("queues", "purge", "orders", "--force")
    assert (purged.code, "Purged Queue 'orders'" in purged.text) == (0, True), purged.text
    assert (await hub.call("GET", f"{QUEUES}/orders")).result["messages_waiting"] == 0

    deleted = await wrangler("queues", "delete", "orders")
    assert (deleted.code, "Deleted queue orders" in deleted.text) == (0, True), deleted.text
    assert (await hub.call("GET", QUEUES)).result == []
