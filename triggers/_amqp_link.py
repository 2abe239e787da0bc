"""One connection to an AMQP broker, as long as it lives. The only module of the queue trigger that knows the client library.

Never connects again by itself, and never waits without a deadline: a link that does not answer is lost. Invariant: once `lost` is done
nothing can be settled here any more, and whatever was not settled belongs to the broker again, which delivers it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, cast

import aio_pika
from aio_pika.abc import AbstractChannel
from aiormq import exceptions as amqp
from aiormq.abc import AbstractChannel as UnderlayChannel
from aiormq.abc import DeliveredMessage
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from hub.core.dialing import Undialled, undialled
from triggers._amqp_frames import WITHOUT_PROPERTIES, FrameReader
from triggers._amqp_messages import COUNTS, Properties, Received

T = TypeVar("T")

_CLOSE_S = 3.0  # a broker that is there answers at once


class LinkLost(Exception):
    """The connection is of no use any more: what is unsettled comes again. Connect anew."""


class Refused(Exception):
    """The broker said no, and will say it again until somebody changes a setting or the broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How a queue is doing: messages that are ready, and consumers of all clients."""

    ready: int
    consumers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What is declared: a durable quorum queue with its dead-letter queue, and bindings of (exchange, routing key)."""

    queue: str
    dead_letter_queue: str
    delivery_limit: int
    single_active_consumer: bool
    bindings: tuple[tuple[str, str], ...] = ()


class Delivery:
    """A message that waits to be settled, once. Settling on a lost link does nothing: the broker delivers the message again."""

    def __init__(self, link: Link, message: DeliveredMessage, queue: str) -> None:
        self.link = link
        self.received = _received(message, queue)
        self._channel = message.channel
        self._tag = message.delivery_tag or 0
        self._message = message

    async def ack(self) -> None:
        """Take the message for good."""
        await self._settle(self._channel.basic_ack)

    async def bury(self) -> None:
        """Refuse the message for good: to the dead letters of its queue, if it has any."""
        await self._settle(partial(self._channel.basic_reject, requeue=False))

    async def give_back(self) -> None:
        """Return the message unseen; the broker delivers it to somebody else, or here later."""
        await self._settle(partial(self._channel.basic_nack, requeue=True))

    def copied(self, headers: dict[str, Any]) -> tuple[bytes, Any]:
        """Return body and properties of a lasting copy with more headers."""
        properties = copy(self._message.header.properties)
        properties.headers = {name: value for name, value in self.received.headers.items() if name not in COUNTS} | headers
        properties.delivery_mode = 2
        properties.expiration = None  # the time that it had left has nothing to do with where it goes
        properties.user_id = None  # the broker refuses any other than the connection's own
        return self._message.body, properties

    async def _settle(self, settle: Callable[[int], Awaitable[None]]) -> None:
        if not self.link.lost.done():
            with contextlib.suppress(LinkLost):
                await self.link.io(settle(self._tag))


class Link:
    """An open connection with a channel for consuming and one for everything that may fail."""

    def __init__(self, connection: _Connection, deadline: timedelta) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._deadline = deadline
        self._control: AbstractChannel | None = None
        self._consumer: AbstractChannel | None = None
        self._channel: UnderlayChannel | None = None  # of the consumer
        self._tag: str | None = None

    @staticmethod
    async def open(url: str, *, name: str, heartbeat: timedelta, deadline: timedelta) -> Link:
        """Connect. Raises: LinkLost (nobody answers) or Refused (wrong user, password or virtual host)."""
        address = URL(url).update_query(heartbeat=int(heartbeat.total_seconds()), name=name)
        connection = _Connection(address)
        link = Link(connection, deadline)
        try:
            await link.io(connection.connect())
        except LinkLost as lost:
            await link.close()
            if not connection.dialled:
                raise
            raise LinkLost(f"{connection.dialled} does not answer as a broker does: {lost}; if that stays, check scheme and port") from None
        except BaseException:
            await link.close()
            raise
        connection.close_callbacks.add(lambda _sender, error: link.end(error, "the broker has closed the connection"))
        return link

    # ---- queues

    async def verify(self, queue: str) -> Depth:
        """Ask for the queue without changing anything. Raises: LinkLost, Refused (there is none, no permission)."""
        channel = await self._control_channel()
        declared = await self.io(channel.declare_queue(queue, passive=True), f'queue "{queue}"')
        result = declared.declaration_result
        return Depth(ready=result.message_count or 0, consumers=result.consumer_count or 0)

    async def echo(self) -> None:
        """Return when the broker has answered something. Raises: LinkLost."""
        channel = await self._open_channel()
        await self.io(channel.close())

    async def declare(self, topology: Topology) -> None:
        """Declare the queue with its dead letters and bindings. Raises: LinkLost, Refused (it exists with other arguments, …)."""
        channel = await self._control_channel()
        await self.io(channel.declare_queue(topology.dead_letter_queue, durable=True, arguments={"x-queue-type": "quorum"}), "dead letters")
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-delivery-limit": topology.delivery_limit,
            **_dead_letters_to(topology.dead_letter_queue),
        }
        if topology.single_active_consumer:
            arguments["x-single-active-consumer"] = True
        queue = await self.io(channel.declare_queue(topology.queue, durable=True, arguments=arguments), f'queue "{topology.queue}"')
        for exchange, key in topology.bindings:
            await self.io(queue.bind(exchange, key), f'binding to the exchange "{exchange}"')

    async def declare_delay(self, name: str, delay: timedelta, target: str) -> None:
        """Declare a queue whose messages go to another one after a delay. It goes away when it has not been used for long."""
        milliseconds = int(delay.total_seconds() * 1000)
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-message-ttl": milliseconds,
            "x-expires": 2 * milliseconds + 3_600_000,  # an hour after the last message can have left
            **_dead_letters_to(target),
        }
        channel = await self._control_channel()
        await self.io(channel.declare_queue(name, durable=True, arguments=arguments), f'queue "{name}"')

    # ---- messages

    async def consume(self, queue: str, prefetch: int, take: Callable[[Delivery], None]) -> None:
        """Begin to consume, at most `prefetch` unsettled messages at a time. Raises: LinkLost, Refused."""
        if self._channel is None:
            self._consumer = channel = await self._open_channel(confirms=False)  # its own: a refusal elsewhere must not close it
            channel.close_callbacks.add(lambda _sender, error: self.end(error, "the broker has closed the channel"))
            self._channel = await channel.get_underlay_channel()
            self._channel.on_consumer_cancel_callbacks.add(lambda _frame: self.lose("the broker has cancelled the consumer"))
        await self.io(self._channel.basic_qos(prefetch_count=prefetch))

        async def arrive(message: DeliveredMessage) -> None:
            take(Delivery(self, message, queue))

        # Not through the library's `Queue.consume`: it fails on property values that it does not know, and nobody would settle the message.
        self._tag = (await self.io(self._channel.basic_consume(queue, arrive), f'queue "{queue}"')).consumer_tag

    async def cancel(self) -> None:
        """Stop consuming; what has arrived stays to be settled. Raises: LinkLost."""
        if self._channel is not None and self._tag is not None:
            tag, self._tag = self._tag, None
            await self.io(self._channel.basic_cancel(tag))

    async def publish(self, delivery: Delivery, queue: str, headers: dict[str, Any]) -> None:
        """Put a copy of a message into a queue; the broker has it when this returns. Raises: LinkLost, Refused (no such queue, full)."""
        channel = await (await self._control_channel()).get_underlay_channel()
        body, properties = delivery.copied(headers)
        action = channel.basic_publish(body, routing_key=queue, properties=properties, mandatory=True)
        await self.io(action, f'publishing to the queue "{queue}"')

    # ---- the end

    def end(self, error: BaseException | None, otherwise: str) -> None:
        """Take note that the connection is closed."""
        self.lose(_reason(error, otherwise))

    def lose(self, reason: str) -> None:
        """Give the link up."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self) -> None:
        """Close the connection; what is unsettled goes back to the broker. Never fails, and never takes long."""
        if self.lost.done():
            self._connection.abort()
        self.lose("closed")
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._connection.close()
        except TimeoutError:
            self._connection.abort()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_S):
                    await self._connection.close()
        except Exception:  # noqa: S110  # it is closed, whatever it says about that
            pass

    async def io(self, action: Awaitable[T], what: str = "") -> T:
        """Await an answer of the broker up to the deadline. Raises: LinkLost or Refused, whatever the library says."""
        try:
            async with asyncio.timeout(self._deadline.total_seconds()):
                return await action
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise self._lost("the connection was closed") from None  # the library cancels those who wait for a closed connection
        except TimeoutError:
            raise self._lost(f"no answer within {self._deadline.total_seconds():g} s") from None
        except Exception as error:
            if refusal := _refusal(error, what):
                raise Refused(refusal) from None
            raise self._lost(_reason(error, type(error).__name__)) from None

    def _lost(self, reason: str) -> LinkLost:
        self.lose(reason)
        return LinkLost(self.lost.result())

    async def _control_channel(self) -> AbstractChannel:
        """Return the channel for topology and publishing: a refusal closes a channel, and must not return what is being consumed."""
        if self._control is None or self._control.is_closed:
            self._control = await self._open_channel()
        return self._control

    async def _open_channel(self, *, confirms: bool = True) -> AbstractChannel:
        channel = self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        await self.io(channel.initialize())
        return channel


# ---- the connection


class _Transports(TransportFactory):
    """Makes the socket, mends what comes over it, and keeps it at hand: a half-open link can only be left by dropping it."""

    def __init__(self, tls: bool) -> None:
        self._factory = TLSTransportFactory() if tls else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None
        self.dialled = ""  # the address that there is a connection to

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            reader, self._writer = await self._factory.create(url, **kwargs)
        except OSError as error:
            raise undialled(error, url.host, url.port) from error
        self.dialled = f"{url.host}:{url.port}"
        return cast(asyncio.StreamReader, FrameReader(reader)), self._writer  # which has what the library calls

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class _Connection(aio_pika.Connection):
    """The library's plain connection: its robust one waits a fixed time between tries, and can come back without its consumers."""

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self._transports = _Transports(url.scheme == "amqps")
        self.kwargs["transport_factory"] = self._transports

    @property
    def dialled(self) -> str:
        """The address that there is, or was, a connection to."""
        return self._transports.dialled

    def abort(self) -> None:
        """Drop the socket."""
        self._transports.abort()


# ---- translations


def _dead_letters_to(queue: str) -> dict[str, Any]:
    """Return the arguments with which a queue hands its dead letters to another one, and never loses one on the way."""
    return {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once needs it
    }


def _received(message: DeliveredMessage, queue: str) -> Received:
    properties = message.header.properties
    return Received(
        queue=queue,
        body=message.body,
        headers=dict(properties.headers or {}),
        exchange=message.exchange or "",
        routing_key=message.routing_key or "",
        redelivered=bool(message.redelivered),
        consumer_tag=message.consumer_tag or "",
        complete=message.header.weight != WITHOUT_PROPERTIES,
        properties=Properties(
            content_type=properties.content_type or None,
            content_encoding=properties.content_encoding or None,
            correlation_id=properties.correlation_id or None,
            reply_to=properties.reply_to or None,
            expiration=properties.expiration or None,
            message_id=properties.message_id or None,
            timestamp=properties.timestamp,
            type=properties.message_type or None,
            user_id=properties.user_id or None,
            app_id=properties.app_id or None,
            priority=properties.priority,
            delivery_mode=properties.delivery_mode,
        ),
    )


_REMEDIES: tuple[tuple[type[Exception], str], ...] = (
    (amqp.ChannelNotFoundEntity, 'create it, or set topology = "declare"'),
    (amqp.ChannelPreconditionFailed, 'it exists with other arguments: delete it, name another one, or set topology = "passive"'),
    (amqp.ChannelAccessRefused, "give the user of the url permission for it"),
    (amqp.ChannelLockedResource, "it belongs to another connection alone; name another one"),
    (amqp.ProbableAuthenticationError, "check user and password in the url"),
    (amqp.AuthenticationError, "the broker does not offer a way to log in that this client knows"),
    (amqp.PublishError, "there is no such queue; create it"),
    (amqp.DeliveryError, "the queue takes no more messages"),
)


def _refusal(error: Exception, what: str) -> str | None:
    """Return what the broker refused and what to do about it; None = the error is about the link."""
    if isinstance(error, Undialled):
        return str(error) if error.hopeless else None
    if isinstance(error, amqp.ChannelNotFoundEntity) and "no exchange" in str(error):
        return f"{what}: {_reason(error, '')}; create it, or leave it out of `bindings`"
    remedy = next((remedy for kind, remedy in _REMEDIES if isinstance(error, kind)), None)
    if isinstance(error, amqp.InvalidFrameError) and "Connection.OpenOk" in str(error):  # it got the reason instead, and drops it
        return "the broker refuses the virtual host; check that it exists, that the user may use it, and how many connections it allows"
    if remedy is None:
        return None
    said = _reason(error, type(error).__name__)
    return f"{what}: {said}; {remedy}" if what else f"{said}; {remedy}"


def _reason(error: BaseException | None, otherwise: str) -> str:
    said = " ".join(str(part) for part in getattr(error, "args", ()) if isinstance(part, str | int) and part)
    return said or otherwise
