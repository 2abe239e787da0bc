"""The decisions about the messages of a batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.core.queue import Decision, Message, MessageBatch

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACK, RETRY = Decision(retry=False), Decision(retry=True)


def message(id: str = "m1") -> Message:
    return Message(id=id, timestamp=NOW, body={"n": 1})


def test_an_undecided_message_is_settled_when_the_handler_returns_and_tried_again_when_it_fails() -> None:
    undecided = message()

    assert undecided.decision(failed=False) == ACK
    assert undecided.decision(failed=True) == RETRY


def test_the_first_decision_holds() -> None:
    first, second = message(), message()
    first.ack()
    first.retry(delay_seconds=5)
    second.retry(delay_seconds=5)
    second.ack()

    assert first.decision(failed=True) == ACK
    assert second.decision(failed=False) == Decision(retry=True, delay=timedelta(seconds=5))


def test_a_decision_for_all_leaves_what_is_decided() -> None:
    acked, retried, rest = message("a"), message("b"), message("c")
    batch = MessageBatch("orders", [acked, retried, rest])
    acked.ack()
    retried.retry()

    batch.retry_all(delay_seconds=60)

    decisions = [each.decision(failed=False) for each in batch.messages]
    assert decisions == [ACK, RETRY, Decision(retry=True, delay=timedelta(minutes=1))]


def test_all_that_is_undecided_is_acknowledged_at_once() -> None:
    retried, rest = message("a"), message("b")
    batch = MessageBatch("orders", [retried, rest])
    retried.retry()

    batch.ack_all()

    assert [each.decision(failed=True) for each in batch.messages] == [RETRY, ACK]


def test_the_spelling_of_cloudflare_is_understood() -> None:
    one, other = message(), message()
    one.retry({"delaySeconds": 1.5})
    MessageBatch("orders", [other]).retryAll({"delaySeconds": 2})
    acked = message()
    MessageBatch("orders", [acked]).ackAll()

    assert one.decision(failed=False).delay == timedelta(seconds=1.5)
    assert other.decision(failed=False).delay == timedelta(seconds=2)
    assert acked.decision(failed=True) == ACK


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"delay_seconds": -1}, ValueError, "from 0 to 86400"),
        ({"delay_seconds": 86_401}, ValueError, "24 hours"),
        ({"delay_seconds": "1 minute"}, TypeError, "a number of seconds"),
        ({"delay_seconds": True}, TypeError, "a number of seconds"),
        ({"delay": 1}, TypeError, "'delay'; there is delay_seconds"),
    ],
)
def test_a_wrong_delay_is_refused_with_what_is_right(options: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        message().retry(**options)
