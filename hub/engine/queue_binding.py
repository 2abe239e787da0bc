"""What `self.env.NAME` of a queue of the hub is: send messages into it from handlers and from workflows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hub.core.current import next_id
from hub.core.errors import Rejected
from hub.core.queues import Outgoing, QueueDesk, check_delay, outgoing

_CAMEL = {"contentType": "content_type", "delaySeconds": "delay_seconds", "messageId": "message_id"}
_OPTIONS = ("content_type", "delay_seconds", "message_id")


class QueueBinding:
    """A queue of the hub, by its binding. What a step sends has the same id in each of its attempts."""

    def __init__(self, queues: QueueDesk, queue: str, delay: timedelta) -> None:
        self._queues = queues
        self._queue = queue
        self._delay = delay

    async def send(self, body: Any, options: Mapping[str, Any] | None = None, /, **keywords: Any) -> None:
        """Send a message: a JSON value, or bytes; it is on disk when this returns.

        Options, as keywords or in one dict: `content_type` (json, text, bytes), `delay_seconds` up to a day, `message_id`. Raises: Rejected
        (it can never be sent like that), PayloadTooLarge (128 KB), Unavailable.
        """
        await self._queues.push(self._queue, [self._message(body, {**(options or {}), **keywords})])

    async def send_batch(self, messages: Iterable[Mapping[str, Any]], options: Mapping[str, Any] | None = None, /, **keywords: Any) -> None:
        """Send up to 100 messages, `{"body": …}` with options each, in one commit; `delay_seconds` of the batch is for those without one.

        Raises: as `send`, and PayloadTooLarge for a batch of more than 256 KB.
        """
        common = _read({**(options or {}), **keywords}, ("delay_seconds",))
        wanted: list[Outgoing] = []
        for index, message in enumerate(messages):
            if not isinstance(message, Mapping) or "body" not in message:
                raise Rejected(f'messages[{index}]: expected {{"body": …}}', code="queue.body")
            wanted.append(self._message(message["body"], {**common, **{key: each for key, each in message.items() if key != "body"}}))
        await self._queues.push(self._queue, wanted)

    sendBatch = send_batch  # noqa: N815  # Cloudflare's spelling

    def _message(self, body: Any, options: Mapping[str, Any]) -> Outgoing:
        given = _read(options, _OPTIONS)
        delay = given.pop("delay_seconds", None)
        message = outgoing(body, message_id=given.pop("message_id", None) or next_id(), **given)
        return replace(message, delay=self._delay if delay is None else check_delay(delay))


def _read(options: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    given = {_CAMEL.get(name, name): value for name, value in options.items()}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise Rejected(f"there is no option {unknown[0]!r}; there are {', '.join(known)}", code="queue.option")
    return given
