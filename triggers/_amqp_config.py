"""The keys of a `[[triggers]]` table with `kind = "amqp"`, and the rules between them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from triggers._durations import Duration, between

_MAX_NAME_BYTES = 255  # the protocol's limit
_LONGEST_NAME_ADDED = len(".retry.86400")


def _check_name(name: str) -> str:
    if not name or len(name.encode()) > _MAX_NAME_BYTES - _LONGEST_NAME_ADDED:
        raise ValueError(f"the name of a queue has 1 to {_MAX_NAME_BYTES - _LONGEST_NAME_ADDED} bytes")
    if name.startswith("amq."):
        raise ValueError('names that begin with "amq." belong to the broker')
    return name


_QueueName = Annotated[str, AfterValidator(_check_name)]


class Binding(BaseModel):
    """A binding of the declared queue to an exchange that exists."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exchange: str = Field(min_length=1, description="Name of an exchange that exists.")
    routing_key: str = Field(default="", description="The binding's routing key, or pattern of a topic exchange.")


class AmqpConfig(BaseModel):
    """The keys of a `[[triggers]]` table with `kind = "amqp"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr = Field(description="Address of the broker, such as amqp://user:password@host:5672/vhost, or amqps://. Never shown.")
    queue: _QueueName = Field(description="The queue to consume.")
    prefetch: int = Field(default=50, ge=1, le=2000, description="Unacknowledged messages at a time; 0 (no limit) is not allowed.")
    topology: Literal["passive", "declare", "none"] = Field(
        default="passive",
        description="passive = the queue must exist; declare = make a durable quorum queue with dead letters; none = ask nothing.",
    )
    delivery_limit: int = Field(default=20, ge=1, le=1000, description="A message that came back more often goes to the dead letters.")
    dead_letters: Literal["hub", "broker"] | None = Field(
        default=None,
        description="broker = refuse hopeless messages, for the queue's dead-letter exchange; hub = acknowledge them; default by topology.",
    )
    dead_letter_queue: _QueueName | None = Field(default=None, description="Where hopeless messages go; with declare QUEUE.dead.")
    single_active_consumer: bool = Field(default=False, description="One consumer at a time, over all nodes: keeps the order.")
    bindings: tuple[Binding, ...] = Field(default=(), description="With declare: exchanges that the queue is bound to.")
    max_body: int = Field(default=1_048_576, ge=1, le=26_214_400, description="Largest body in bytes, after decompression; 25 MiB at most.")
    heartbeat: Annotated[Duration, between(timedelta(seconds=1), timedelta(minutes=10))] = Field(
        default=timedelta(seconds=30), description="How often both sides show that they are there."
    )
    watch: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=10))] = Field(
        default=timedelta(seconds=5), description="How often the hub makes sure that the broker answers and still knows its consumer."
    )
    grace: Annotated[Duration, between(timedelta(0), timedelta(hours=1))] = Field(
        default=timedelta(seconds=10), description="How long messages in hand may take when the hub stops; the rest goes back."
    )
    max_batch_size: int = Field(default=10, ge=1, le=100, description="Without workflow: most messages of one call of queue(batch).")
    max_batch_timeout: Annotated[Duration, between(timedelta(0), timedelta(minutes=1))] = Field(
        default=timedelta(seconds=5), description="Without workflow: how long a batch waits to be full."
    )
    max_concurrency: int = Field(default=5, ge=1, le=250, description="Without workflow: calls of queue(batch) at a time on one node.")
    max_retries: int = Field(default=3, ge=0, le=100, description="Tries after the first one; then the message goes to the dead letters.")
    retry_delay: Annotated[Duration, between(timedelta(0), timedelta(hours=24))] = Field(
        default=timedelta(0), description="Wait before a message is tried again, unless retry() says otherwise."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(url.get_secret_value())
            known = parts.scheme in ("amqp", "amqps") and bool(parts.hostname) and (parts.port or 0) >= 0
        except ValueError:
            known = False
        if not known:
            raise ValueError("not an address such as amqp://user:password@host:5672/vhost")
        return url

    @model_validator(mode="after")
    def _check_rules(self) -> AmqpConfig:
        if self.topology != "declare" and self.bindings:
            raise ValueError('bindings need topology = "declare"')
        if self.topology == "declare" and self.dead_letters == "hub":
            raise ValueError('topology = "declare" makes a dead-letter queue; leave dead_letters out')
        if self.dead_letter_queue == self.queue:
            raise ValueError("dead_letter_queue is the queue itself")
        if self.dead_letters == "broker" and self.dead_letter_queue and self.topology != "declare":
            raise ValueError('dead_letters = "broker" leaves it to the broker where they go; leave dead_letter_queue out')
        return self

    @property
    def broker_buries(self) -> bool:
        """Whether the queue has a dead-letter exchange of its own."""
        return self.topology == "declare" or self.dead_letters == "broker"

    @property
    def dead_queue(self) -> str:
        """The dead-letter queue of a declared queue."""
        return self.dead_letter_queue or f"{self.queue}.dead"
