"""The tables of who may come in and who did what. See `tables.py`."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, Text
from sqlmodel import Field, SQLModel

from hub.store.table_parts import NUMBER, guard

AUDIT_TRIGGER = """
CREATE TRIGGER audit_final BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only added to');
END
""".strip()
AUDIT_FUNCTION = """
CREATE FUNCTION audit_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only added to';
END
$$
""".strip()
AUDIT_GUARD = "CREATE TRIGGER audit_final BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION audit_final()"


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

    key: int | None = Field(default=None, primary_key=True, sa_type=NUMBER)
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


guard(SQLModel.metadata.tables["audit"], AUDIT_TRIGGER, AUDIT_FUNCTION, AUDIT_GUARD)
