"""The tables of triggers: what they are, what they received, the hub's own queues, and flow control. See `tables.py`."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from hub.store.table_parts import NUMBER, where


class TriggerTable(SQLModel, table=True):
    """A trigger by name: whether it is paused, and how far its schedule has come."""

    __tablename__ = "trigger"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    name: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    workflow: str | None = Field(default=None, sa_type=Text)
    digest: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    modified_at: int = Field(sa_type=BigInteger)
    cursor: int | None = Field(default=None, sa_type=BigInteger)
    paused_at: int | None = Field(default=None, sa_type=BigInteger)
    note: str | None = Field(default=None, sa_type=Text)


class IdempotencyTable(SQLModel, table=True):
    """Which instance an event of a trigger has created.

    It outlives an instance that somebody deletes, so that a late repetition of the event does not bring it back; `deleted_id` then keeps
    the id of that instance, until the row is as old as what is pruned.
    """

    __tablename__ = "idempotency"
    __table_args__: ClassVar[Any] = (
        Index("idempotency_orphan", "at", **where("deleted_id IS NOT NULL")),
        {"sqlite_with_rowid": False},
    )

    trigger: str = Field(primary_key=True, sa_type=Text)
    key: str = Field(primary_key=True, sa_type=Text)
    instance: int = Field(sa_type=BigInteger)
    at: int = Field(sa_type=BigInteger)
    deleted_id: str | None = Field(default=None, sa_type=Text)


class DeliveryTable(SQLModel, table=True):
    """Something received that created no instance by itself. `key` is the order of arrival, `event_key` the key at the source.

    The large columns are last. A held one is in no index that pruning reads: it is kept until it is released.
    """

    __tablename__ = "delivery"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("id", name="delivery_id"),
        Index("delivery_trigger", "trigger", "status", "key"),
        Index("delivery_status", "status", "key"),
        Index("delivery_event", "trigger", "event_key", "status", **where("event_key IS NOT NULL")),
        Index("delivery_received", "received_at", **where("status <> 'held'")),
        {"sqlite_autoincrement": True},
    )

    key: int | None = Field(default=None, primary_key=True, sa_type=NUMBER)
    id: str = Field(sa_type=Text)
    trigger: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    received_at: int = Field(sa_type=BigInteger)
    changed_at: int | None = Field(default=None, sa_type=BigInteger)
    code: str = Field(sa_type=Text)
    event_key: str | None = Field(default=None, sa_type=Text)
    occurred_at: int | None = Field(default=None, sa_type=BigInteger)
    workflow: str | None = Field(default=None, sa_type=Text)
    instance_id: str | None = Field(default=None, sa_type=Text)
    message: str = Field(sa_type=Text)
    event: bytes = Field(sa_type=LargeBinary)


class QueueTable(SQLModel, table=True):
    """A queue of the hub's own, by name."""

    __tablename__ = "queue"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    name: str = Field(primary_key=True, sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)


class MessageTable(SQLModel, table=True):
    """A message of a queue. `key` is the order of arrival; what is settled has no row.

    `node` holds it for as long as the node lives; a client that pulls holds it until `visible_at`. `lease` is the last one that was given;
    an older one settles nothing. One index serves the line, the held ones and the counts.
    """

    __tablename__ = "message"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("queue", "id", name="message_id"),
        Index("message_line", "queue", "node", "visible_at", "key"),
        {"sqlite_autoincrement": True},
    )

    key: int | None = Field(default=None, primary_key=True, sa_type=NUMBER)
    queue: str = Field(sa_type=Text)
    id: str = Field(sa_type=Text)
    content_type: str = Field(sa_type=Text)
    attempts: int = Field(sa_type=Integer, sa_column_kwargs={"server_default": text("0")})
    sent_at: int = Field(sa_type=BigInteger)
    visible_at: int = Field(sa_type=BigInteger)
    node: int | None = Field(default=None, sa_type=NUMBER)
    lease: int | None = Field(default=None, sa_type=BigInteger)
    body: bytes = Field(sa_type=LargeBinary)


class GateTable(SQLModel, table=True):
    """What stands between an instance that has not ended and its execution; `rule` is of `flow_rows.Rule`.

    `held` = it has the turn of its singleton, or a place of a concurrency limit. `place` orders those that wait in one line, and is the
    time of a start deadline. An instance without flow control has no row, and every row goes in the transaction that ends its instance:
    what is held can never outlive its holder.
    """

    __tablename__ = "gate"
    __table_args__: ClassVar[Any] = (
        Index("gate_key", "rule", "key", "instance"),
        Index("gate_held", "rule", "key", "instance", **where("held IS NOT NULL")),
        Index("gate_line", "rule", "key", "place", "instance", **where("place IS NOT NULL")),
        {"sqlite_with_rowid": False},
    )

    instance: int = Field(primary_key=True, sa_type=BigInteger)
    rule: str = Field(primary_key=True, sa_type=Text)
    key: str = Field(primary_key=True, sa_type=Text)
    held: int | None = Field(default=None, sa_type=Integer)
    place: int | None = Field(default=None, sa_type=BigInteger)


class LaneTable(SQLModel, table=True):
    """A line of instances with equal concurrency keys, one row for each of the keys, as long as anybody stands in it.

    `places` is the limit of the key, `turn` the revision at which the lane was served last: lanes that share a key take turns.
    """

    __tablename__ = "lane"
    __table_args__: ClassVar[Any] = (
        Index("lane_turn", "slot", "places", "turn", "lane"),
        {"sqlite_with_rowid": False},
    )

    lane: str = Field(primary_key=True, sa_type=Text)
    slot: str = Field(primary_key=True, sa_type=Text)
    places: int = Field(sa_type=BigInteger)
    turn: int = Field(sa_type=BigInteger)


class BucketTable(SQLModel, table=True):
    """What a rate limit, a throttle or a leading debounce knows of a key: nothing once `until` is past, so that old rows are deleted.

    `until` is the theoretical arrival time, or the end of a burst; `since` and `instance` are that burst's beginning and what it started.
    """

    __tablename__ = "bucket"
    __table_args__: ClassVar[Any] = (
        Index("bucket_until", "until"),
        {"sqlite_with_rowid": False},
    )

    rule: str = Field(primary_key=True, sa_type=Text)
    key: str = Field(primary_key=True, sa_type=Text)
    until: int = Field(sa_type=BigInteger)
    since: int | None = Field(default=None, sa_type=BigInteger)
    instance: int | None = Field(default=None, sa_type=BigInteger)


class CollectionTable(SQLModel, table=True):
    """What an instance has collected of a batch or a burst; its gate is there as long as it takes more."""

    __tablename__ = "collection"

    instance: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    opened_at: int = Field(sa_type=BigInteger)
    newest_at: int = Field(sa_type=BigInteger)
    number: int = Field(sa_type=BigInteger)
    size_bytes: int = Field(sa_type=BigInteger)


class MemberTable(SQLModel, table=True):
    """An event that became part of a collecting instance: which one, and its payload until the instance starts."""

    __tablename__ = "member"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    instance: int = Field(primary_key=True, sa_type=BigInteger)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    trigger: str | None = Field(default=None, sa_type=Text)
    key: str | None = Field(default=None, sa_type=Text)
    payload: bytes | None = Field(default=None, sa_type=LargeBinary)
