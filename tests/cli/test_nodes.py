"""`hub nodes list`: the request, and what it shows."""

from __future__ import annotations

import json

from tests.cli.command_line import call
from tests.cli.conftest import RecordedHub

NODES = "/client/v4/accounts/local/nodes?page=1&per_page=50"
NODE = {
    "id": "7", "host": "box-a", "pid": 4242, "version": "1.0", "schema": "0001", "url": "http://127.0.0.1:8787", "roles": ["intake", "run"],
    "workflows": ["shipping"], "slots": 1000, "instances": 12, "started_on": "2026-01-01T00:00:00.000Z",
    "lease_until": "2026-01-01T00:00:10.000Z", "alive": True,
}  # fmt: skip


async def test_list_shows_who_lives_and_how_much_each_has_to_do(recorded_hub: RecordedHub) -> None:
    lost = NODE | {"id": "8", "host": "box-b", "alive": False}
    stopped = {key: value for key, value in lost.items() if key != "lease_until"} | {"id": "9", "url": None}
    recorded_hub.answer("GET", NODES, [NODE, lost, stopped])
    outcome = await call("nodes", "list", env=recorded_hub.env)
    assert (outcome.code, outcome.err) == (0, "")
    for words in ("4242 on box-a", "12 of 1000", "intake, run", "http://127.0.0.1:8787", "alive", "lost", "stopped"):
        assert words in outcome.out


async def test_list_as_json_is_what_the_hub_says(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", NODES, [NODE])
    outcome = await call("nodes", "list", "--json", env=recorded_hub.env)
    assert json.loads(outcome.out) == [NODE]
