"""Messages to an AMQP broker. Owns one publishing connection, which is made when it is first needed and anew when it is lost.

Never retries: the durable step does. `send` returns when the broker has taken the message for good (publisher confirm, persistent), and a
message that fits no queue is an error. Invariant: what a step sends has the same `message_id` in each of its attempts, so that a consumer
that heeds it sees it once, also when an answer of the broker was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypedDict, TypeVar, Unpack

import aio_pika
from aio_pika.abc import AbstractChannel
from aiormq import exceptions as amqp
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from yarl import URL

from hub.core import codec
from hub.core.current import next_id
from hub.core.dialing import Undialled, undialled
from hub.core.duration import format_duration, parse_duration
from hub.core.errors import NonRetryableError

T = TypeVar("T")

_CLOSE_S = 3.0  # a broker that is there answers at once
_MAX_BATCH = 1000  # messages of one send_batch; more is a mistake, or deserves several steps


class AmqpError(Exception):
    """The message may or may not have been taken: send it again, its id tells a repetition."""


class AmqpRefused(NonRetryableError):
    """The broker will not take this message, however often it is sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "AmqpRefused")


class Options(TypedDict, total=False):
    """What a message may carry beside its body."""

    message_id: str  # default: the same in every attempt of the step
    content_type: str  # default by the body: application/json, text/plain for a text, application/octet-stream for bytes
    headers: Mapping[str, Any]
    correlation_id: str
    reply_to: str
    type: str
    priority: int
    expiration: str | int | float | timedelta  # how long it may wait for a consumer; plain numbers are milliseconds


class AmqpConfig(BaseModel):
    """The keys of a `[[connectors]]` table with `kind = "amqp"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr = Field(description="Address of the broker, such as amqp://user:password@host:5672/vhost, or amqps://. Never shown.")
    queue: str | None = Field(default=None, max_length=255, description="Where send() puts messages; the routing key with an exchange.")
    exchange: str = Field(
        default="", max_length=255, description="Exchange that messages are published to; default: straight to the queue."
    )
    timeout: timedelta = Field(default=timedelta(seconds=10), description="Deadline of a message, from the connection to the confirm.")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("amqp://", "amqps://")):
            raise ValueError("not an address such as amqp://user:password@host:5672/vhost")
        return url

    @field_validator("timeout", mode="before")
    @classmethod
    def _read_timeout(cls, value: Any) -> timedelta:
        duration = parse_duration(value, what="timeout")
        if not duration:
            raise ValueError("timeout: zero leaves no time for an answer")
        return duration


class AmqpConnector:
    """One publishing connection for all workflows of this process; as `self.env.NAME` it has the verbs of a Cloudflare queue."""

    Config: ClassVar[type] = AmqpConfig

    def __init__(self, config: AmqpConfig) -> None:
        self._config = config
        self._connection: _Connection | None = None
        self._channel: AbstractChannel | None = None
        self._one = asyncio.Lock()

    async def open(self) -> None:
        """Do nothing yet: a broker that is away must not keep the hub from starting."""

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            await connection.leave()

    async def ping(self) -> None:
        """Return when the broker answers. Raises: AmqpError, AmqpRefused (wrong password, unknown virtual host)."""
        await self._guarded(self._ready(), "connecting")

    async def send(self, body: Any, options: Mapping[str, Any] | None = None, /, **keywords: Unpack[Options]) -> None:
        """Put a message into the connector's queue: bytes and texts as they are, anything else as JSON.

        Raises: AmqpError (try again), AmqpRefused (nobody would ever get it).
        """
        if self._config.queue is None:
            raise AmqpRefused("this connector has no `queue` in hub.toml; name it there, or use publish(routing_key, body)")
        await self._publish(self._config.exchange, self._config.queue, body, {**_translated(options), **keywords})

    async def send_batch(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Put several messages, `{"body": …}` and options each, into the queue; they are taken when this returns. Raises: as `send`."""
        batch = [dict(message) for message in messages]
        if len(batch) > _MAX_BATCH or any("body" not in message for message in batch):
            raise AmqpRefused(f'a batch is up to {_MAX_BATCH} messages of the form {{"body": …}}')
        for message in batch:
            message.setdefault("message_id", next_id())  # in the order of the batch, not of the network
        async with asyncio.TaskGroup() as tasks:
            sends = [tasks.create_task(_outcome(self.send(message.pop("body"), message))) for message in batch]
        for send in sends:
            if (error := send.result()) is not None:
                raise error

    sendBatch = send_batch  # noqa: N815  # Cloudflare's spelling

    async def publish(self, routing_key: str, body: Any, /, *, exchange: str | None = None, **options: Unpack[Options]) -> None:
        """Publish a message to an exchange, by default the connector's. Raises: as `send`."""
        await self._publish(self._config.exchange if exchange is None else exchange, routing_key, body, options)

    async def _publish(self, exchange: str, routing_key: str, body: Any, options: Mapping[str, Any]) -> None:
        place = f'"{exchange}" with the key "{routing_key}"' if exchange else f'the queue "{routing_key}"'
        message = _message(body, options)
        await self._guarded(self._send(exchange, routing_key, message), f"publishing to {place}")

    async def _send(self, exchange: str, routing_key: str, message: aio_pika.Message) -> None:
        channel = await self._ready()
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        await target.publish(message, routing_key, mandatory=True)

    async def _ready(self) -> AbstractChannel:
        """Return an open channel with confirms."""
        async with self._one:
            if self._connection is None or self._connection.is_closed or not self._connection.connected.is_set():
                await self.close()
                self._connection = _Connection(URL(self._config.url.get_secret_value()).update_query(name="trigger-hub"))
                await self._connection.connect()
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            return self._channel

    async def _guarded(self, action: Awaitable[T], what: str) -> T:
        """Await the broker up to the deadline. Raises: AmqpError or AmqpRefused, whatever the library says."""
        try:
            async with asyncio.timeout(self._config.timeout.total_seconds()):
                return await action
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise AmqpError(f"{what}: the connection was closed") from None  # the library cancels those who wait for it
        except TimeoutError:
            await self.close()  # it may be half open
            raise AmqpError(f"{what}: no answer within {format_duration(self._config.timeout)}") from None
        except amqp.PublishError:
            raise AmqpRefused(f"{what}: no queue takes it; create the queue, or bind one to the exchange") from None
        except amqp.DeliveryError:
            raise AmqpError(f"{what}: the broker does not take it now; is the queue full?") from None
        except Undialled as error:
            raise (AmqpRefused if error.hopeless else AmqpError)(f"{what}: {error}") from None
        except _REFUSALS as error:
            raise AmqpRefused(f"{what}: {_said(error)}") from None
        except Exception as error:
            raise AmqpError(f"{what}: {_said(error)}") from None


class _Connection(aio_pika.Connection):
    """The library's plain connection, which can also be left when nobody answers any more."""

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self._transports = _Transports(TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory())
        self.kwargs["transport_factory"] = self._transports

    async def leave(self) -> None:
        """Close the connection; drop the socket when the broker does not answer to that."""
        for _ in range(2):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_S):
                    await self.close()
                    return
            self._transports.abort()


class _Transports(TransportFactory):
    """Makes the socket and keeps it at hand."""

    def __init__(self, factory: TransportFactory) -> None:
        self._factory = factory
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            reader, self._writer = await self._factory.create(url, **kwargs)
        except OSError as error:
            raise undialled(error, url.host, url.port) from error
        return reader, self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


_REFUSALS = (
    amqp.ChannelNotFoundEntity,
    amqp.ChannelAccessRefused,
    amqp.ChannelPreconditionFailed,
    amqp.AuthenticationError,
    amqp.ProbableAuthenticationError,
    NonRetryableError,
)


async def _outcome(send: Awaitable[None]) -> Exception | None:
    """Return the error instead of raising it: one refused message must not cancel the others half-way."""
    try:
        await send
    except Exception as error:
        return error
    return None


# ---- messages


_CAMEL = {"contentType": "content_type", "messageId": "message_id", "correlationId": "correlation_id", "replyTo": "reply_to"}
_SHORT = {"json": "application/json", "text": "text/plain", "bytes": "application/octet-stream"}  # Cloudflare's content types


def _translated(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {_CAMEL.get(name, name): value for name, value in (options or {}).items()}


def _message(body: Any, options: Mapping[str, Any]) -> aio_pika.Message:
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise AmqpRefused(f"a message has no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(Options.__annotations__))}")
    raw, content_type = _written(body)
    given = dict(options)
    content_type = given.pop("content_type", content_type)
    try:
        if "expiration" in given:
            given["expiration"] = parse_duration(given["expiration"], what="expiration")
        return aio_pika.Message(
            raw,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            timestamp=datetime.now(UTC),
            message_id=given.pop("message_id", None) or next_id(),
            content_type=_SHORT.get(content_type, content_type),
            headers=dict(given.pop("headers", None) or {}),
            **given,
        )
    except (TypeError, ValueError) as error:
        raise AmqpRefused(f"the message cannot be written: {error}") from None


def _written(body: Any) -> tuple[bytes, str]:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    try:
        return codec.dump_plain(codec.plain(codec.encode(body, what="body"))), "application/json"
    except (TypeError, ValueError) as error:
        raise AmqpRefused(f"the body cannot be written: {error}") from None


def _said(error: Exception) -> str:
    said = " ".join(str(part) for part in error.args if isinstance(part, str | int) and part)
    return said or type(error).__name__
