"""What the first schema has beside its tables: the guards of rows, and what only a database needs that many processes write."""

from __future__ import annotations

_FINAL = """
CREATE TRIGGER instance_final BEFORE UPDATE ON instance
WHEN OLD.status IN ('complete', 'errored', 'terminated') AND NOT (
    NEW.status = 'queued' AND NEW.wake_at IS NOT NULL AND NEW.token = OLD.token
    AND coalesce(NEW.node, NEW.started_at, NEW.ended_at, NEW.expires_at, NEW.terminated_by, NEW.output, NEW.error, NEW.rollback) IS NULL
)
BEGIN
    SELECT RAISE(ABORT, 'what has ended changes only by a restart');
END
""".strip()

_AUDIT = """
CREATE TRIGGER audit_final BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only added to');
END
""".strip()

_FINAL_FUNCTION = """
CREATE FUNCTION instance_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what has ended changes only by a restart';
END
$$
""".strip()

_FINAL_GUARD = """
CREATE TRIGGER instance_final BEFORE UPDATE ON instance FOR EACH ROW
WHEN (OLD.status IN ('complete', 'errored', 'terminated') AND NOT (
    NEW.status = 'queued' AND NEW.wake_at IS NOT NULL AND NEW.token = OLD.token
    AND coalesce(NEW.node, NEW.started_at, NEW.ended_at, NEW.expires_at) IS NULL
    AND coalesce(NEW.terminated_by, NEW.error, NEW.rollback) IS NULL AND NEW.output IS NULL
)) EXECUTE FUNCTION instance_final()
""".strip()

_AUDIT_FUNCTION = """
CREATE FUNCTION audit_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only added to';
END
$$
""".strip()

TEXTS = {
    "sqlite": (_FINAL, _AUDIT),
    "postgresql": (
        _FINAL_FUNCTION,
        _FINAL_GUARD,
        _AUDIT_FUNCTION,
        "CREATE TRIGGER audit_final BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION audit_final()",
        "CREATE SEQUENCE revision_number INCREMENT 8192 START 8192",
        "CREATE TABLE mutex (name TEXT PRIMARY KEY)",
        "INSERT INTO mutex VALUES ('flow')",
        "CREATE TABLE writer (id TEXT PRIMARY KEY, number BIGINT NOT NULL, at BIGINT NOT NULL)",
    ),
}
