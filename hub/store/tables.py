"""The tables, as the database must have them: the truth that every migration has to reach.

Used by migrations and by tests only; nothing on the way of a write imports this module, because importing SQLModel takes half a second.
Rows are read and written as tuples (`rows.py`), never as objects of these classes. Every time is an integer: microseconds since 1970 UTC.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import DDL, BigInteger, CheckConstraint, Index, Integer, LargeBinary, Text, UniqueConstraint, event, text
from sqlalchemy.schema import DDLElement
from sqlmodel import Field, SQLModel

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only INTEGER PRIMARY KEY by itself

FINAL_TRIGGER = """
CREATE TRIGGER instance_final BEFORE UPDATE ON instance
WHEN OLD.status IN ('complete', 'errored', 'terminated') AND NOT (
    NEW.status = 'queued' AND NEW.wake_at IS NOT NULL AND NEW.token = OLD.token
    AND coalesce(NEW.node, NEW.started_at, NEW.ended_at, NEW.expires_at, NEW.terminated_by, NEW.output, NEW.error, NEW.rollback) IS NULL
)
BEGIN
    SELECT RAISE(ABORT, 'what has ended changes only by a restart');
END
""".strip()

AUDIT_TRIGGER = """
CREATE TRIGGER audit_final BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only added to');
END
""".strip()


def _where(condition: str) -> dict[str, Any]:
    """Return what makes an index hold only the rows that meet a condition."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class WorkflowTable(SQLModel, table=True):
    """A workflow by name. `id` is what clients see."""

    __tablename__ = "workflow"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("id", name="workflow_id"),
        UniqueConstraint("name", name="workflow_name"),
        {"sqlite_autoincrement": True},
    )

    key: int | None = Field(default=None, primary_key=True, sa_type=_NUMBER)
    id: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    class_name: str = Field(sa_type=Text)
    script_name: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    modified_at: int = Field(sa_type=BigInteger)
    triggered_at: int | None = Field(default=None, sa_type=BigInteger)


class VersionTable(SQLModel, table=True):
    """One version of a workflow's code."""

    __tablename__ = "version"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("id", name="version_id"),
        UniqueConstraint("workflow", "digest", name="version_digest"),
    )

    key: int | None = Field(default=None, primary_key=True, sa_type=_NUMBER)
    id: str = Field(sa_type=Text)
    workflow: int = Field(foreign_key="workflow.key", sa_type=_NUMBER)
    class_name: str = Field(sa_type=Text)
    digest: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)


class InstanceTable(SQLModel, table=True):
    """The head of an instance. `key` is never given twice, so rows of a deleted instance can never be taken for another's.

    The live index serves the claim, the take-over from a dead node and the next due time; an instance leaves it when it ends. The status
    index serves counts and all lists, which are merged from one walk for each status in the order of creation; it costs a write some
    percent, and a million instances are counted ten times faster. With the token it also counts those that have never been claimed, with
    the trigger it passes over those of others without reading them. The others hold only instances with a head start, children, and
    instances that will expire. `flow` is what lasts of the flow control of an instance, NULL = nothing. The large columns are last: a list
    of heads never reads their pages.
    """

    __tablename__ = "instance"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("length(id) > 0", name="instance_id_not_empty"),
        UniqueConstraint("workflow", "id", name="instance_workflow_id"),
        Index("instance_live", "node", "wake_at", **_where("ended_at IS NULL")),
        Index("instance_ahead", text("(wake_at - ahead)"), **_where("ahead IS NOT NULL AND ended_at IS NULL AND node IS NULL")),
        Index("instance_status", "workflow", "status", "created_at", "token", "trigger"),
        Index("instance_parent", "parent", **_where("parent IS NOT NULL")),
        Index("instance_expires", "expires_at", **_where("expires_at IS NOT NULL")),
        {"sqlite_autoincrement": True},
    )

    key: int | None = Field(default=None, primary_key=True, sa_type=_NUMBER)
    workflow: int = Field(foreign_key="workflow.key", sa_type=_NUMBER)
    id: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    modified_at: int = Field(sa_type=BigInteger)
    started_at: int | None = Field(default=None, sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    paused_at: int | None = Field(default=None, sa_type=BigInteger)
    wake_at: int | None = Field(default=None, sa_type=BigInteger)
    node: int | None = Field(default=None, sa_type=_NUMBER)
    token: int = Field(sa_type=BigInteger)
    wish: str | None = Field(default=None, sa_type=Text)
    inbox_seq: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    recoveries: int = Field(sa_type=Integer, sa_column_kwargs={"server_default": text("0")})
    version: str | None = Field(default=None, sa_type=Text)
    source: str = Field(sa_type=Text)
    trigger: str | None = Field(default=None, sa_type=Text)
    dedupe_key: str | None = Field(default=None, sa_type=Text)
    schedule_cron: str | None = Field(default=None, sa_type=Text)
    scheduled_at: int | None = Field(default=None, sa_type=BigInteger)
    version_ran: str | None = Field(default=None, sa_type=Text)
    parent: int | None = Field(default=None, sa_type=_NUMBER)
    parent_inbox_type: str | None = Field(default=None, sa_type=Text)
    success_retention: int | None = Field(default=None, sa_type=BigInteger)
    error_retention: int | None = Field(default=None, sa_type=BigInteger)
    expires_at: int | None = Field(default=None, sa_type=BigInteger)
    ends_as: str | None = Field(default=None, sa_type=Text)
    terminated_by: str | None = Field(default=None, sa_type=Text)
    queued_rev: int = Field(sa_type=BigInteger)
    started_rev: int | None = Field(default=None, sa_type=BigInteger)
    ended_rev: int | None = Field(default=None, sa_type=BigInteger)
    flow: str | None = Field(default=None, sa_type=Text)
    ahead: int | None = Field(default=None, sa_type=BigInteger)
    labels: str | None = Field(default=None, sa_type=Text)
    params: bytes = Field(sa_type=LargeBinary)
    output: bytes | None = Field(default=None, sa_type=LargeBinary)
    error: str | None = Field(default=None, sa_type=Text)
    rollback: str | None = Field(default=None, sa_type=Text)
    provenance: bytes | None = Field(default=None, sa_type=LargeBinary)


class LabelTable(SQLModel, table=True):
    """The labels of instances, to find them by; the name of a tag is empty. An instance without labels has no row."""

    __tablename__ = "label"
    __table_args__: ClassVar[Any] = (Index("label_instance", "instance"), {"sqlite_with_rowid": False})

    workflow: int = Field(primary_key=True, sa_type=BigInteger)
    name: str = Field(primary_key=True, sa_type=Text)
    value: str = Field(primary_key=True, sa_type=Text)
    created_at: int = Field(primary_key=True, sa_type=BigInteger)
    instance: int = Field(primary_key=True, sa_type=BigInteger)


class StepTable(SQLModel, table=True):
    """The journal: one row a step, sleep or wait. NULL = the default of the field in `Entry`.

    `rev` is the revision of the last change, `began_rev` that of the first record; NULL = the same.
    """

    __tablename__ = "step"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    instance: int = Field(primary_key=True, sa_type=BigInteger)
    kind: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    count: int = Field(primary_key=True, sa_type=Integer)
    ordinal: int = Field(sa_type=Integer)
    state: str = Field(sa_type=Text)
    started_at: int = Field(sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    attempt: int | None = Field(default=None, sa_type=Integer)
    attempt_started_at: int | None = Field(default=None, sa_type=BigInteger)
    wake_at: int | None = Field(default=None, sa_type=BigInteger)
    config: str | None = Field(default=None, sa_type=Text)
    event_type: str | None = Field(default=None, sa_type=Text)
    child: str | None = Field(default=None, sa_type=Text)
    rev: int = Field(sa_type=BigInteger)
    began_rev: int | None = Field(default=None, sa_type=BigInteger)
    output: bytes | None = Field(default=None, sa_type=LargeBinary)
    error: str | None = Field(default=None, sa_type=Text)


class AttemptTable(SQLModel, table=True):
    """An attempt of a step or of its rollback handler: a failed one, with revision, end and error.

    `began_rev` is the revision at which an attempt after the first one was seen to begin, also of one that has not failed.
    """

    __tablename__ = "attempt"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    instance: int = Field(primary_key=True, sa_type=BigInteger)
    kind: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    count: int = Field(primary_key=True, sa_type=Integer)
    number: int = Field(primary_key=True, sa_type=Integer)
    started_at: int = Field(sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    retry_at: int | None = Field(default=None, sa_type=BigInteger)
    rev: int | None = Field(default=None, sa_type=BigInteger)
    began_rev: int | None = Field(default=None, sa_type=BigInteger)
    error: str | None = Field(default=None, sa_type=Text)


class HistoryTable(SQLModel, table=True):
    """What happened to an instance and cannot be seen from its head or its journal: one row a change of status or restart.

    The creation, the first start and the end have no row: they are revisions in the head, which keeps a plain instance as cheap as it is.
    """

    __tablename__ = "history"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    instance: int = Field(primary_key=True, sa_type=BigInteger)
    rev: int = Field(primary_key=True, sa_type=BigInteger)
    kind: str = Field(sa_type=Text)
    at: int = Field(sa_type=BigInteger)
    data: str | None = Field(default=None, sa_type=Text)


class RevisionTable(SQLModel, table=True):
    """One row: the number below which every revision may have been used."""

    __tablename__ = "revision"

    used_below: int = Field(primary_key=True, sa_type=_NUMBER, sa_column_kwargs={"autoincrement": False})


class InboxTable(SQLModel, table=True):
    """Events that were sent to an instance and not yet consumed: consuming one deletes its row."""

    __tablename__ = "inbox"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    instance: int = Field(primary_key=True, sa_type=BigInteger)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    type: str = Field(sa_type=Text)
    payload: bytes = Field(sa_type=LargeBinary)
    sent_at: int = Field(sa_type=BigInteger)


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
        Index("idempotency_orphan", "at", **_where("deleted_id IS NOT NULL")),
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
        Index("delivery_event", "trigger", "event_key", "status", **_where("event_key IS NOT NULL")),
        Index("delivery_received", "received_at", **_where("status <> 'held'")),
        {"sqlite_autoincrement": True},
    )

    key: int | None = Field(default=None, primary_key=True, sa_type=_NUMBER)
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

    key: int | None = Field(default=None, primary_key=True, sa_type=_NUMBER)
    queue: str = Field(sa_type=Text)
    id: str = Field(sa_type=Text)
    content_type: str = Field(sa_type=Text)
    attempts: int = Field(sa_type=Integer, sa_column_kwargs={"server_default": text("0")})
    sent_at: int = Field(sa_type=BigInteger)
    visible_at: int = Field(sa_type=BigInteger)
    node: int | None = Field(default=None, sa_type=_NUMBER)
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
        Index("gate_held", "rule", "key", "instance", **_where("held IS NOT NULL")),
        Index("gate_line", "rule", "key", "place", "instance", **_where("place IS NOT NULL")),
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


class TokenTable(SQLModel, table=True):
    """A token by its id: the SHA-256 of its text, and what it is good for. One that is revoked keeps its row."""

    __tablename__ = "token"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    digest: bytes = Field(sa_type=LargeBinary)
    scopes: str = Field(sa_type=Text)
    account: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)
    expires_at: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at: int | None = Field(default=None, sa_type=BigInteger)
    used_at: int | None = Field(default=None, sa_type=BigInteger)


class AuditTable(SQLModel, table=True):
    """The audit log in the order in which it was written; an entry goes when it is old, and never changes."""

    __tablename__ = "audit"
    __table_args__: ClassVar[Any] = (Index("audit_at", "at"), {"sqlite_autoincrement": True})

    key: int | None = Field(default=None, primary_key=True, sa_type=_NUMBER)
    at: int = Field(sa_type=BigInteger)
    caller: str = Field(sa_type=Text)
    token: str | None = Field(default=None, sa_type=Text)
    remote: str | None = Field(default=None, sa_type=Text)
    operation: str = Field(sa_type=Text)
    method: str = Field(sa_type=Text)
    target: str = Field(sa_type=Text)
    detail: str = Field(sa_type=Text)
    ending: str = Field(sa_type=Text)
    status: int = Field(sa_type=Integer)
    code: str = Field(sa_type=Text)
    more: int = Field(sa_type=BigInteger)


class NodeTable(SQLModel, table=True):
    """A process that executes instances. `lease_until` 0 = its lease has ended, whatever the clock says."""

    __tablename__ = "node"
    __table_args__: ClassVar[Any] = {"sqlite_autoincrement": True}

    key: int | None = Field(default=None, primary_key=True, sa_type=_NUMBER)
    lease_until: int = Field(sa_type=BigInteger)
    started_at: int = Field(sa_type=BigInteger)
    info: str | None = Field(default=None, sa_type=Text)


metadata = SQLModel.metadata
_final: DDLElement = DDL(FINAL_TRIGGER)  # type: ignore[no-untyped-call]  # SQLAlchemy has no type for it
event.listen(metadata.tables["instance"], "after_create", _final.execute_if(dialect="sqlite"))
_audited: DDLElement = DDL(AUDIT_TRIGGER)  # type: ignore[no-untyped-call]
event.listen(metadata.tables["audit"], "after_create", _audited.execute_if(dialect="sqlite"))
