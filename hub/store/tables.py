"""The tables, as the database must have them: the truth that every migration has to reach. Here those of instances; `metadata` has all.

Used by migrations and by tests only; nothing on the way of a write imports this module, because importing SQLModel takes half a second.
Rows are read and written as tuples (`rows.py`), never as objects of these classes. Every time is an integer: microseconds since 1970 UTC.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, LargeBinary, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from hub.store import access_tables, trigger_tables  # noqa: F401  # so that `metadata` has their tables
from hub.store.table_parts import NUMBER, guard, where

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
FINAL_FUNCTION = """
CREATE FUNCTION instance_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what has ended changes only by a restart';
END
$$
""".strip()
FINAL_GUARD = """
CREATE TRIGGER instance_final BEFORE UPDATE ON instance FOR EACH ROW
WHEN (OLD.status IN ('complete', 'errored', 'terminated') AND NOT (
    NEW.status = 'queued' AND NEW.wake_at IS NOT NULL AND NEW.token = OLD.token
    AND coalesce(NEW.node, NEW.started_at, NEW.ended_at, NEW.expires_at) IS NULL
    AND coalesce(NEW.terminated_by, NEW.error, NEW.rollback) IS NULL AND NEW.output IS NULL
)) EXECUTE FUNCTION instance_final()
""".strip()
SHARED = (  # what only a database needs that many processes write
    "CREATE SEQUENCE revision_number INCREMENT 8192 START 8192",
    "CREATE TABLE mutex (name TEXT PRIMARY KEY)",
    "INSERT INTO mutex VALUES ('flow')",
    "CREATE TABLE writer (id TEXT PRIMARY KEY, number BIGINT NOT NULL, at BIGINT NOT NULL)",
)


class WorkflowTable(SQLModel, table=True):
    """A workflow by name. `id` is what clients see."""

    __tablename__ = "workflow"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("id", name="workflow_id"),
        UniqueConstraint("name", name="workflow_name"),
        {"sqlite_autoincrement": True},
    )

    key: int | None = Field(default=None, primary_key=True, sa_type=NUMBER)
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

    key: int | None = Field(default=None, primary_key=True, sa_type=NUMBER)
    id: str = Field(sa_type=Text)
    workflow: int = Field(foreign_key="workflow.key", sa_type=NUMBER)
    class_name: str = Field(sa_type=Text)
    digest: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)


class InstanceTable(SQLModel, table=True):
    """The head of an instance. `key` is never given twice, so rows of a deleted instance can never be taken for another's.

    The live index serves the claim, the take-over from a dead node and the next due time; an instance leaves it when it ends. The status
    index serves counts and all lists, which are merged from one walk for each status in the order of creation; it costs a write some
    percent, and a million instances are counted ten times faster. With the token it also counts those that have never been claimed, with
    the trigger it passes over those of others without reading them. Three more serve the lists of a version, of a trigger, and of what has
    ended in a span of time, which may all be rare among a million. The others hold only instances with a head start, children, and
    instances that will expire. `flow` is what lasts of the flow control of an instance, NULL = nothing. The large columns are last: a list
    of heads never reads their pages.
    """

    __tablename__ = "instance"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("length(id) > 0", name="instance_id_not_empty"),
        UniqueConstraint("workflow", "id", name="instance_workflow_id"),
        Index("instance_live", "node", "wake_at", **where("ended_at IS NULL")),
        Index("instance_ahead", text("(wake_at - ahead)"), **where("ahead IS NOT NULL AND ended_at IS NULL AND node IS NULL")),
        Index("instance_status", "workflow", "status", "created_at", "token", "trigger"),
        Index("instance_version", "workflow", "version", "created_at"),
        Index("instance_trigger", "workflow", "trigger", "created_at", **where("trigger IS NOT NULL")),
        Index("instance_ended", "workflow", "ended_at", **where("ended_at IS NOT NULL")),
        Index("instance_parent", "parent", **where("parent IS NOT NULL")),
        Index("instance_expires", "expires_at", **where("expires_at IS NOT NULL")),
        {"sqlite_autoincrement": True},
    )

    key: int | None = Field(default=None, primary_key=True, sa_type=NUMBER)
    workflow: int = Field(foreign_key="workflow.key", sa_type=NUMBER)
    id: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    modified_at: int = Field(sa_type=BigInteger)
    started_at: int | None = Field(default=None, sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    paused_at: int | None = Field(default=None, sa_type=BigInteger)
    wake_at: int | None = Field(default=None, sa_type=BigInteger)
    node: int | None = Field(default=None, sa_type=NUMBER)
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
    parent: int | None = Field(default=None, sa_type=NUMBER)
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


class LineTable(SQLModel, table=True):
    """A line that an attempt has logged; `rev` is the revision at which the attempt ended, `total` the bytes of lines up to this one."""

    __tablename__ = "line"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    instance: int = Field(primary_key=True, sa_type=BigInteger)
    rev: int = Field(primary_key=True, sa_type=BigInteger)
    seq: int = Field(primary_key=True, sa_type=Integer)
    kind: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    count: int = Field(sa_type=Integer)
    attempt: int = Field(sa_type=Integer)
    at: int = Field(sa_type=BigInteger)
    level: int = Field(sa_type=Integer)
    total: int = Field(sa_type=BigInteger)
    logger: str | None = Field(default=None, sa_type=Text)
    message: str = Field(sa_type=Text)


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

    used_below: int = Field(primary_key=True, sa_type=NUMBER, sa_column_kwargs={"autoincrement": False})


class InboxTable(SQLModel, table=True):
    """Events that were sent to an instance and not yet consumed: consuming one deletes its row."""

    __tablename__ = "inbox"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    instance: int = Field(primary_key=True, sa_type=BigInteger)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    type: str = Field(sa_type=Text)
    payload: bytes = Field(sa_type=LargeBinary)
    sent_at: int = Field(sa_type=BigInteger)


class NodeTable(SQLModel, table=True):
    """A process that executes instances. `lease_until` 0 = its lease has ended, whatever the clock says."""

    __tablename__ = "node"
    __table_args__: ClassVar[Any] = {"sqlite_autoincrement": True}

    key: int | None = Field(default=None, primary_key=True, sa_type=NUMBER)
    lease_until: int = Field(sa_type=BigInteger)
    started_at: int = Field(sa_type=BigInteger)
    info: str | None = Field(default=None, sa_type=Text)


class OldestHubTable(SQLModel, table=True):
    """One row: the schema that a hub must know at least to use this database, and the version of the hub that has set this."""

    __tablename__ = "oldest_hub"

    schema_: str = Field(sa_column=Column("schema", Text, primary_key=True))
    version: str = Field(sa_type=Text)


metadata = SQLModel.metadata
guard(metadata.tables["instance"], FINAL_TRIGGER, FINAL_FUNCTION, FINAL_GUARD, *SHARED)
