"""`hub queues …`: requests, words, exit codes."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.command_line import call
from tests.cli.conftest import RecordedHub

QUEUES = "/client/v4/accounts/local/queues"
QUEUE = {
    "queue_id": "orders", "queue_name": "orders", "created_on": "2026-01-01T00:00:00.000Z", "modified_on": "2026-01-01T00:00:00.000Z",
    "producers": [{"type": "worker", "script": "shop", "binding": "ORDERS"}], "producers_total_count": 1,
    "consumers": [{
        "consumer_id": "incoming", "type": "worker", "queue_name": "orders", "script_name": "shop", "workflow_name": "shipping",
        "dead_letter_queue": "orders-dead", "created_on": "2026-01-01T00:00:00.000Z", "settings": {"max_retries": 3},
    }],
    "consumers_total_count": 1, "messages_waiting": 12, "messages_held": 3, "oldest_due_on": "2026-01-02T00:00:00.000Z",
}  # fmt: skip


def sent(hub: RecordedHub) -> Any:
    return json.loads(hub.heard[-1].body)


async def test_list_shows_what_waits_and_who_consumes(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", f"{QUEUES}?page=1&per_page=50", [QUEUE])
    outcome = await call("queues", "list", env=recorded_hub.env)
    assert (outcome.code, outcome.err) == (0, "")
    for words in ("orders", "12", "3", "incoming", "ORDERS"):
        assert words in outcome.out


async def test_no_queue_is_said_on_stderr_with_what_to_write(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", f"{QUEUES}?page=1&per_page=50", [])
    outcome = await call("queues", "list", env=recorded_hub.env)
    assert (outcome.code, outcome.out) == (0, "")
    assert "[[queues.consumers]]" in outcome.err


async def test_info_shows_consumers_and_producers(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", f"{QUEUES}/orders", QUEUE)
    plain = await call("queues", "info", "orders", env=recorded_hub.env)
    as_json = await call("queues", "info", "orders", "--json", env=recorded_hub.env)
    for words in ("trigger incoming → workflow shipping; 3 retries, then to orders-dead", "self.env.ORDERS of shop"):
        assert words in plain.out
    assert json.loads(as_json.out) == QUEUE


async def test_send_puts_json_a_text_or_a_file_into_a_queue(recorded_hub: RecordedHub, tmp_path: Any) -> None:
    recorded_hub.answer("POST", f"{QUEUES}/orders/messages", {"ids": ["m-1"]})
    outcome = await call("queues", "send", "orders", '{"n": 12345678901234567890}', env=recorded_hub.env)
    assert 'Message "m-1" is in the queue "orders"' in outcome.out
    assert recorded_hub.heard[-1].body == '{"body":{"n": 12345678901234567890},"content_type":"json"}'

    await call("queues", "send", "orders", "hi", "--text", "--delay", "60", env=recorded_hub.env)
    assert sent(recorded_hub) == {"body": "hi", "content_type": "text", "delay_seconds": 60}

    (tmp_path / "order.json").write_text("[1]")
    await call("queues", "send", "orders", "--input", f"@{tmp_path}/order.json", env=recorded_hub.env)
    assert sent(recorded_hub) == {"body": [1], "content_type": "json"}


async def test_what_is_no_message_costs_no_request(recorded_hub: RecordedHub) -> None:
    for arguments in (["{"], [], ["1", "--input", "-"]):
        outcome = await call("queues", "send", "orders", *arguments, env=recorded_hub.env)
        assert (outcome.code, outcome.out) == (2, ""), outcome.err
    assert recorded_hub.heard == []


async def test_purge_says_how_many_messages_it_took(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("POST", f"{QUEUES}/orders/purge", {"started_on": "2026-01-01T00:00:00.000Z", "completed": "true", "deleted": 1})
    outcome = await call("queues", "purge", "orders", "--yes", env=recorded_hub.env)
    assert '1 message of the queue "orders" deleted' in outcome.out
    assert sent(recorded_hub) == {"delete_messages_permanently": True}
