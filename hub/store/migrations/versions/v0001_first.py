"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.migrations import v0001_guards as guards

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create all tables."""
    _workflows()
    _instances()
    _instance_indexes()
    _labels()
    _journal()
    _logs()
    _triggers()
    _queues()
    _flow()
    _access()
    _nodes()
    for text in guards.TEXTS[op.get_bind().dialect.name]:
        op.execute(text)


def _workflows() -> None:
    op.create_table(
        "workflow",
        sa.Column("key", _NUMBER, primary_key=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("class_name", sa.Text, nullable=False),
        sa.Column("script_name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("modified_at", sa.BigInteger, nullable=False),
        sa.Column("triggered_at", sa.BigInteger),
        sa.UniqueConstraint("id", name="workflow_id"),
        sa.UniqueConstraint("name", name="workflow_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "version",
        sa.Column("key", _NUMBER, primary_key=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("workflow", _NUMBER, sa.ForeignKey("workflow.key"), nullable=False),
        sa.Column("class_name", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("id", name="version_id"),
        sa.UniqueConstraint("workflow", "digest", name="version_digest"),
    )


def _instances() -> None:
    op.create_table(
        "instance",
        sa.Column("key", _NUMBER, primary_key=True, nullable=False),
        sa.Column("workflow", _NUMBER, sa.ForeignKey("workflow.key"), nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("modified_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("paused_at", sa.BigInteger),
        sa.Column("wake_at", sa.BigInteger),
        sa.Column("node", _NUMBER),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("wish", sa.Text),
        sa.Column("inbox_seq", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("recoveries", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("version", sa.Text),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("trigger", sa.Text),
        sa.Column("dedupe_key", sa.Text),
        sa.Column("schedule_cron", sa.Text),
        sa.Column("scheduled_at", sa.BigInteger),
        sa.Column("version_ran", sa.Text),
        sa.Column("parent", _NUMBER),
        sa.Column("parent_inbox_type", sa.Text),
        sa.Column("success_retention", sa.BigInteger),
        sa.Column("error_retention", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("ends_as", sa.Text),
        sa.Column("terminated_by", sa.Text),
        sa.Column("queued_rev", sa.BigInteger, nullable=False),
        sa.Column("started_rev", sa.BigInteger),
        sa.Column("ended_rev", sa.BigInteger),
        sa.Column("flow", sa.Text),
        sa.Column("ahead", sa.BigInteger),
        sa.Column("labels", sa.Text),
        sa.Column("params", sa.LargeBinary, nullable=False),
        sa.Column("output", sa.LargeBinary),
        sa.Column("error", sa.Text),
        sa.Column("rollback", sa.Text),
        sa.Column("provenance", sa.LargeBinary),
        sa.CheckConstraint("length(id) > 0", name="instance_id_not_empty"),
        sa.UniqueConstraint("workflow", "id", name="instance_workflow_id"),
        sqlite_autoincrement=True,
    )


def _instance_indexes() -> None:
    live = sa.text("ended_at IS NULL")
    op.create_index("instance_live", "instance", ["node", "wake_at"], sqlite_where=live, postgresql_where=live)
    ahead = sa.text("ahead IS NOT NULL AND ended_at IS NULL AND node IS NULL")
    op.create_index("instance_ahead", "instance", [sa.text("(wake_at - ahead)")], sqlite_where=ahead, postgresql_where=ahead)
    op.create_index("instance_status", "instance", ["workflow", "status", "created_at", "token", "trigger"])
    op.create_index("instance_version", "instance", ["workflow", "version", "created_at"])
    for name, columns, column in (
        ("instance_trigger", ["workflow", "trigger", "created_at"], "trigger"),
        ("instance_ended", ["workflow", "ended_at"], "ended_at"),
        ("instance_parent", ["parent"], "parent"),
        ("instance_expires", ["expires_at"], "expires_at"),
    ):
        given = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, "instance", columns, sqlite_where=given, postgresql_where=given)


def _labels() -> None:
    op.create_table(
        "label",
        sa.Column("workflow", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("value", sa.Text, primary_key=True, nullable=False),
        sa.Column("created_at", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("instance", sa.BigInteger, primary_key=True, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("label_instance", "label", ["instance"])


def _journal() -> None:
    op.create_table(
        "step",
        sa.Column("instance", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("kind", sa.Text, primary_key=True, nullable=False),
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("count", sa.Integer, primary_key=True, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("attempt", sa.Integer),
        sa.Column("attempt_started_at", sa.BigInteger),
        sa.Column("wake_at", sa.BigInteger),
        sa.Column("config", sa.Text),
        sa.Column("event_type", sa.Text),
        sa.Column("child", sa.Text),
        sa.Column("rev", sa.BigInteger, nullable=False),
        sa.Column("began_rev", sa.BigInteger),
        sa.Column("output", sa.LargeBinary),
        sa.Column("error", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "attempt",
        sa.Column("instance", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("kind", sa.Text, primary_key=True, nullable=False),
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("count", sa.Integer, primary_key=True, nullable=False),
        sa.Column("number", sa.Integer, primary_key=True, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("retry_at", sa.BigInteger),
        sa.Column("rev", sa.BigInteger),
        sa.Column("began_rev", sa.BigInteger),
        sa.Column("error", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "history",
        sa.Column("instance", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("rev", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("data", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_table("revision", sa.Column("used_below", _NUMBER, primary_key=True, nullable=False, autoincrement=False))
    op.create_table(
        "inbox",
        sa.Column("instance", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("sent_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _logs() -> None:
    op.create_table(
        "line",
        sa.Column("instance", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("rev", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("seq", sa.Integer, primary_key=True, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("logger", sa.Text),
        sa.Column("message", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )


def _triggers() -> None:
    op.create_table(
        "trigger",
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("workflow", sa.Text),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("modified_at", sa.BigInteger, nullable=False),
        sa.Column("cursor", sa.BigInteger),
        sa.Column("paused_at", sa.BigInteger),
        sa.Column("note", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency",
        sa.Column("trigger", sa.Text, primary_key=True, nullable=False),
        sa.Column("key", sa.Text, primary_key=True, nullable=False),
        sa.Column("instance", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("deleted_id", sa.Text),
        sqlite_with_rowid=False,
    )
    orphaned = sa.text("deleted_id IS NOT NULL")
    op.create_index("idempotency_orphan", "idempotency", ["at"], sqlite_where=orphaned, postgresql_where=orphaned)
    op.create_table(
        "delivery",
        sa.Column("key", _NUMBER, primary_key=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("event_key", sa.Text),
        sa.Column("occurred_at", sa.BigInteger),
        sa.Column("workflow", sa.Text),
        sa.Column("instance_id", sa.Text),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("event", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("id", name="delivery_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("delivery_trigger", "delivery", ["trigger", "status", "key"])
    op.create_index("delivery_status", "delivery", ["status", "key"])
    keyed, old = sa.text("event_key IS NOT NULL"), sa.text("status <> 'held'")
    op.create_index("delivery_event", "delivery", ["trigger", "event_key", "status"], sqlite_where=keyed, postgresql_where=keyed)
    op.create_index("delivery_received", "delivery", ["received_at"], sqlite_where=old, postgresql_where=old)


def _queues() -> None:
    op.create_table(
        "queue",
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "message",
        sa.Column("key", _NUMBER, primary_key=True, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("sent_at", sa.BigInteger, nullable=False),
        sa.Column("visible_at", sa.BigInteger, nullable=False),
        sa.Column("node", _NUMBER),
        sa.Column("lease", sa.BigInteger),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("queue", "id", name="message_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("message_line", "message", ["queue", "node", "visible_at", "key"])


def _flow() -> None:
    op.create_table(
        "gate",
        sa.Column("instance", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("rule", sa.Text, primary_key=True, nullable=False),
        sa.Column("key", sa.Text, primary_key=True, nullable=False),
        sa.Column("held", sa.Integer),
        sa.Column("place", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_index("gate_key", "gate", ["rule", "key", "instance"])
    held, standing = sa.text("held IS NOT NULL"), sa.text("place IS NOT NULL")
    op.create_index("gate_held", "gate", ["rule", "key", "instance"], sqlite_where=held, postgresql_where=held)
    op.create_index("gate_line", "gate", ["rule", "key", "place", "instance"], sqlite_where=standing, postgresql_where=standing)
    op.create_table(
        "lane",
        sa.Column("lane", sa.Text, primary_key=True, nullable=False),
        sa.Column("slot", sa.Text, primary_key=True, nullable=False),
        sa.Column("places", sa.BigInteger, nullable=False),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("lane_turn", "lane", ["slot", "places", "turn", "lane"])
    op.create_table(
        "bucket",
        sa.Column("rule", sa.Text, primary_key=True, nullable=False),
        sa.Column("key", sa.Text, primary_key=True, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger),
        sa.Column("instance", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_index("bucket_until", "bucket", ["until"])
    op.create_table(
        "collection",
        sa.Column("instance", sa.BigInteger, primary_key=True, nullable=False, autoincrement=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("newest_at", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "member",
        sa.Column("instance", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("trigger", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column("payload", sa.LargeBinary),
        sqlite_with_rowid=False,
    )


def _access() -> None:
    op.create_table(
        "token",
        sa.Column("id", sa.Text, primary_key=True, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("used_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit",
        sa.Column("key", _NUMBER, primary_key=True, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("token", sa.Text),
        sa.Column("remote", sa.Text),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("ending", sa.Text, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("more", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_at", "audit", ["at"])


def _nodes() -> None:
    op.create_table(
        "node",
        sa.Column("key", _NUMBER, primary_key=True, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("info", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "oldest_hub",
        sa.Column("schema", sa.Text, primary_key=True, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
    )
    op.execute("INSERT INTO oldest_hub VALUES ('0001', '')")
