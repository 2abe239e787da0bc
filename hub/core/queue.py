"""What a `queue` handler gets: messages that came together, each to be acknowledged or tried again.

Values and decisions only; whoever runs the handler reads the decisions afterwards and carries them out. Invariant: the first decision about
a message holds, so that `ack` of one message survives a later `retry_all`, and an exception of the handler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

LONGEST_DELAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the handler wants for one message: `retry` or not; `delay` None = as the queue's settings say."""

    retry: bool
    delay: timedelta | None = None


class Message:
    """One message: `id`, `timestamp`, `body` (a JSON value; bytes for an unknown content type), `attempts` (from 1), `metadata`."""

    def __init__(self, *, id: str, timestamp: datetime, body: Any, attempts: int = 1, metadata: Mapping[str, Any] | None = None) -> None:
        self.id = id
        self.timestamp = timestamp
        self.body = body
        self.attempts = attempts
        self.metadata = dict(metadata or {})
        self._decision: Decision | None = None

    def ack(self) -> None:
        """Settle the message: it never comes again, even if the handler fails afterwards. Without effect when it is decided already."""
        self._decide(Decision(retry=False))

    def retry(self, options: Mapping[str, Any] | None = None, /, **keywords: Any) -> None:
        """Let the message come again: `retry()`, `retry(delay_seconds=30)`, or the same in one dict. Without effect when it is decided.

        Raises: ValueError for a delay below zero or above 24 hours, TypeError for any other option.
        """
        self._decide(Decision(retry=True, delay=_delay(options, keywords)))

    def decision(self, *, failed: bool) -> Decision:
        """Return what becomes of the message after its handler: undecided ones are settled, or tried again when the handler failed."""
        return self._decision or Decision(retry=failed)

    def _decide(self, decision: Decision) -> None:
        self._decision = self._decision or decision

    def __repr__(self) -> str:
        return f"<Message {self.id!r} attempt {self.attempts}>"


class MessageBatch:
    """Messages of one queue that a handler gets at once: `queue` is its name, `messages` a tuple."""

    def __init__(self, queue: str, messages: Sequence[Message]) -> None:
        self.queue = queue
        self.messages = tuple(messages)

    def ack_all(self) -> None:
        """Settle every message that is not decided yet."""
        for message in self.messages:
            message.ack()

    def retry_all(self, options: Mapping[str, Any] | None = None, /, **keywords: Any) -> None:
        """Let every message that is not decided yet come again; options as of `Message.retry`."""
        for message in self.messages:
            message.retry(options, **keywords)

    ackAll = ack_all  # noqa: N815  # Cloudflare's spelling
    retryAll = retry_all  # noqa: N815

    def __repr__(self) -> str:
        return f"<MessageBatch of {len(self.messages)} from {self.queue!r}>"


def _delay(options: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> timedelta | None:
    given = {**(options or {}), **keywords}
    delay = given.pop("delay_seconds", None)
    delay = given.pop("delaySeconds", delay)
    if given:
        raise TypeError(f"retry has no option {', '.join(map(repr, given))}; there is delay_seconds")
    if delay is None:
        return None
    if isinstance(delay, bool) or not isinstance(delay, int | float):
        raise TypeError(f"delay_seconds is a number of seconds, not {delay!r}")
    if not 0 <= delay <= LONGEST_DELAY.total_seconds():
        raise ValueError(f"delay_seconds is {delay}; it goes from 0 to {LONGEST_DELAY.total_seconds():.0f}, which is 24 hours")
    return timedelta(seconds=delay)
