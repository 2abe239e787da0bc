"""A slice of the queue campaign; `python -m tests.crash.queue_soak` runs it at any length, through restarts of the broker too."""

from __future__ import annotations

from pathlib import Path

import pytest

from .kills import chosen_seed
from .queues import AGAIN_S, Campaign

MESSAGES = 3000
FAULTS = ("kill", "cut", "stall", "away", "restart")


@pytest.mark.timeout(400)  # it starts hubs and waits for a broker to miss heartbeats
async def test_no_message_is_lost_or_doubled_while_hub_and_link_fail(amqp_url: str, folder: Path) -> None:
    report = await Campaign(amqp_url, folder, chosen_seed()).run(MESSAGES, FAULTS)

    assert not report.broken, report
    assert report.slowest_again_s <= AGAIN_S
