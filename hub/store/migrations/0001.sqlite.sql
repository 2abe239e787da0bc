BEGIN IMMEDIATE;
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE workflow (
    "key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    class_name TEXT NOT NULL,
    script_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    triggered_at BIGINT,
    CONSTRAINT workflow_id UNIQUE (id),
    CONSTRAINT workflow_name UNIQUE (name)
);
CREATE TABLE version (
    "key" INTEGER NOT NULL,
    id TEXT NOT NULL,
    workflow INTEGER NOT NULL,
    class_name TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY ("key"),
    CONSTRAINT version_id UNIQUE (id),
    CONSTRAINT version_digest UNIQUE (workflow, digest),
    FOREIGN KEY(workflow) REFERENCES workflow ("key")
);
CREATE TABLE instance (
    "key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    workflow INTEGER NOT NULL,
    id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    paused_at BIGINT,
    wake_at BIGINT,
    node INTEGER,
    token BIGINT NOT NULL,
    wish TEXT,
    inbox_seq BIGINT DEFAULT 0 NOT NULL,
    recoveries INTEGER DEFAULT 0 NOT NULL,
    version TEXT,
    source TEXT NOT NULL,
    "trigger" TEXT,
    dedupe_key TEXT,
    schedule_cron TEXT,
    scheduled_at BIGINT,
    version_ran TEXT,
    parent INTEGER,
    parent_inbox_type TEXT,
    success_retention BIGINT,
    error_retention BIGINT,
    expires_at BIGINT,
    ends_as TEXT,
    terminated_by TEXT,
    queued_rev BIGINT NOT NULL,
    started_rev BIGINT,
    ended_rev BIGINT,
    flow TEXT,
    ahead BIGINT,
    labels TEXT,
    params BLOB NOT NULL,
    output BLOB,
    error TEXT,
    "rollback" TEXT,
    provenance BLOB,
    CONSTRAINT instance_id_not_empty CHECK (length(id) > 0),
    CONSTRAINT instance_workflow_id UNIQUE (workflow, id),
    FOREIGN KEY(workflow) REFERENCES workflow ("key")
);
CREATE INDEX instance_live ON instance (node, wake_at) WHERE ended_at IS NULL;
CREATE INDEX instance_ahead ON instance ((wake_at - ahead)) WHERE ahead IS NOT NULL AND ended_at IS NULL AND node IS NULL;
CREATE INDEX instance_status ON instance (workflow, status, created_at, token, "trigger");
CREATE INDEX instance_version ON instance (workflow, version, created_at);
CREATE INDEX instance_trigger ON instance (workflow, "trigger", created_at) WHERE trigger IS NOT NULL;
CREATE INDEX instance_ended ON instance (workflow, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX instance_parent ON instance (parent) WHERE parent IS NOT NULL;
CREATE INDEX instance_expires ON instance (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE label (
    workflow BIGINT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    instance BIGINT NOT NULL,
    PRIMARY KEY (workflow, name, value, created_at, instance)
)
 WITHOUT ROWID
;
CREATE INDEX label_instance ON label (instance);
CREATE TABLE step (
    instance BIGINT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    count INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    state TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    attempt INTEGER,
    attempt_started_at BIGINT,
    wake_at BIGINT,
    config TEXT,
    event_type TEXT,
    child TEXT,
    rev BIGINT NOT NULL,
    began_rev BIGINT,
    output BLOB,
    error TEXT,
    PRIMARY KEY (instance, kind, name, count)
)
 WITHOUT ROWID
;
CREATE TABLE attempt (
    instance BIGINT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    count INTEGER NOT NULL,
    number INTEGER NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    retry_at BIGINT,
    rev BIGINT,
    began_rev BIGINT,
    error TEXT,
    PRIMARY KEY (instance, kind, name, count, number)
)
 WITHOUT ROWID
;
CREATE TABLE history (
    instance BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    data TEXT,
    PRIMARY KEY (instance, rev)
)
 WITHOUT ROWID
;
CREATE TABLE revision (
    used_below INTEGER NOT NULL,
    PRIMARY KEY (used_below)
);
CREATE TABLE inbox (
    instance BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    type TEXT NOT NULL,
    payload BLOB NOT NULL,
    sent_at BIGINT NOT NULL,
    PRIMARY KEY (instance, seq)
)
 WITHOUT ROWID
;
CREATE TABLE line (
    instance BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    count INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at BIGINT NOT NULL,
    level INTEGER NOT NULL,
    total BIGINT NOT NULL,
    logger TEXT,
    message TEXT NOT NULL,
    PRIMARY KEY (instance, rev, seq)
)
 WITHOUT ROWID
;
CREATE TABLE "trigger" (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    workflow TEXT,
    digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    cursor BIGINT,
    paused_at BIGINT,
    note TEXT,
    PRIMARY KEY (name)
)
 WITHOUT ROWID
;
CREATE TABLE idempotency (
    "trigger" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    instance BIGINT NOT NULL,
    at BIGINT NOT NULL,
    deleted_id TEXT,
    PRIMARY KEY ("trigger", "key")
)
 WITHOUT ROWID
;
CREATE INDEX idempotency_orphan ON idempotency (at) WHERE deleted_id IS NOT NULL;
CREATE TABLE delivery (
    "key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    "trigger" TEXT NOT NULL,
    status TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    changed_at BIGINT,
    code TEXT NOT NULL,
    event_key TEXT,
    occurred_at BIGINT,
    workflow TEXT,
    instance_id TEXT,
    message TEXT NOT NULL,
    event BLOB NOT NULL,
    CONSTRAINT delivery_id UNIQUE (id)
);
CREATE INDEX delivery_trigger ON delivery ("trigger", status, "key");
CREATE INDEX delivery_status ON delivery (status, "key");
CREATE INDEX delivery_event ON delivery ("trigger", event_key, status) WHERE event_key IS NOT NULL;
CREATE INDEX delivery_received ON delivery (received_at) WHERE status <> 'held';
CREATE TABLE queue (
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (name)
)
 WITHOUT ROWID
;
CREATE TABLE message (
    "key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    id TEXT NOT NULL,
    content_type TEXT NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    sent_at BIGINT NOT NULL,
    visible_at BIGINT NOT NULL,
    node INTEGER,
    lease BIGINT,
    body BLOB NOT NULL,
    CONSTRAINT message_id UNIQUE (queue, id)
);
CREATE INDEX message_line ON message (queue, node, visible_at, "key");
CREATE TABLE gate (
    instance BIGINT NOT NULL,
    rule TEXT NOT NULL,
    "key" TEXT NOT NULL,
    held INTEGER,
    place BIGINT,
    PRIMARY KEY (instance, rule, "key")
)
 WITHOUT ROWID
;
CREATE INDEX gate_key ON gate (rule, "key", instance);
CREATE INDEX gate_held ON gate (rule, "key", instance) WHERE held IS NOT NULL;
CREATE INDEX gate_line ON gate (rule, "key", place, instance) WHERE place IS NOT NULL;
CREATE TABLE lane (
    lane TEXT NOT NULL,
    slot TEXT NOT NULL,
    places BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    PRIMARY KEY (lane, slot)
)
 WITHOUT ROWID
;
CREATE INDEX lane_turn ON lane (slot, places, turn, lane);
CREATE TABLE bucket (
    rule TEXT NOT NULL,
    "key" TEXT NOT NULL,
    until BIGINT NOT NULL,
    since BIGINT,
    instance BIGINT,
    PRIMARY KEY (rule, "key")
)
 WITHOUT ROWID
;
CREATE INDEX bucket_until ON bucket (until);
CREATE TABLE collection (
    instance BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    newest_at BIGINT NOT NULL,
    number BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    PRIMARY KEY (instance)
);
CREATE TABLE member (
    instance BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    "trigger" TEXT,
    "key" TEXT,
    payload BLOB,
    PRIMARY KEY (instance, seq)
)
 WITHOUT ROWID
;
CREATE TABLE token (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    scopes TEXT NOT NULL,
    account TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    used_at BIGINT,
    PRIMARY KEY (id)
)
 WITHOUT ROWID
;
CREATE TABLE audit (
    "key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at BIGINT NOT NULL,
    caller TEXT NOT NULL,
    token TEXT,
    remote TEXT,
    operation TEXT NOT NULL,
    method TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    ending TEXT NOT NULL,
    status INTEGER NOT NULL,
    code TEXT NOT NULL,
    more BIGINT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE TABLE node (
    "key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    lease_until BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    info TEXT
);
CREATE TABLE oldest_hub (
    schema TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (schema)
);
CREATE TRIGGER instance_final BEFORE UPDATE ON instance
WHEN OLD.status IN ('complete', 'errored', 'terminated') AND NOT (
    NEW.status = 'queued' AND NEW.wake_at IS NOT NULL AND NEW.token = OLD.token
    AND coalesce(NEW.node, NEW.started_at, NEW.ended_at, NEW.expires_at, NEW.terminated_by, NEW.output, NEW.error, NEW.rollback) IS NULL
)
BEGIN
    SELECT RAISE(ABORT, 'what has ended changes only by a restart');
END;
CREATE TRIGGER audit_final BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only added to');
END;
INSERT INTO alembic_version VALUES ('0001');
INSERT INTO oldest_hub VALUES ('0001', '');
COMMIT;
