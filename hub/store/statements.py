"""The SQL of instances, nodes and workflows: constant text, so that each statement is prepared once; in the words of `program.py`.

No value ever becomes part of a text. The order of columns is that of `rows.py`.
"""

from __future__ import annotations

from hub.core.model import Status

IN_KEYS = "= ANY(?)"

# ---- heads

_HEADS = """
SELECT key, id, status, node, token, wish, inbox_seq, wake_at, paused_at, started_at, ended_at, modified_at, recoveries, version_ran,
expires_at, ends_as, terminated_by, parent, parent_inbox_type, success_retention, error_retention, flow IS NOT NULL FROM instance
"""
HEADS = f"{_HEADS} WHERE key {IN_KEYS} ORDER BY key FOR UPDATE"
HEADS_AND_PARENTS = f"""
{_HEADS} WHERE key IN (SELECT a.key FROM instance a WHERE a.key {IN_KEYS}
UNION SELECT b.parent FROM instance b WHERE b.key {IN_KEYS} AND b.parent IS NOT NULL) ORDER BY key FOR UPDATE
"""
_SET_HEAD = """
status = ?, node = ?, wish = ?, inbox_seq = ?, wake_at = ?, paused_at = ?, started_at = ?, ended_at = ?, modified_at = ?, recoveries = ?,
version_ran = ? WHERE key = ?
"""
UPDATE_HEAD = f"UPDATE instance SET {_SET_HEAD}"
UPDATE_RESULT = f"UPDATE instance SET output = ?, error = ?, ended_rev = ?, {_SET_HEAD}"
_SET_END = f"expires_at = ?, ends_as = ?, terminated_by = ?, ended_rev = ?, {_SET_HEAD}"
UPDATE_END = f"UPDATE instance SET {_SET_END}"
UPDATE_ALL = f"UPDATE instance SET output = ?, error = ?, rollback = ?, {_SET_END}"

AWAITED = f"""
SELECT i.key, i.parent, i.parent_inbox_type FROM instance i JOIN workflow w ON w.key = i.workflow
JOIN step s ON s.instance = i.parent AND s.kind = 'workflow' AND s.event_type = i.parent_inbox_type
WHERE i.key {IN_KEYS} AND s.state = 'waiting' AND s.child = w.name || '/' || i.id
"""

# ---- creating

WORKFLOW_KEY = "SELECT key FROM workflow WHERE name = ?"
TRIGGERED = """
UPDATE workflow SET triggered_at = ?1 WHERE key = ?2 AND coalesce(triggered_at, 0) + 1000000 < ?1
"""  # once a second at most: all nodes share the row
SEEN = """
SELECT d.instance, coalesce(d.deleted_id, i.id), i.status FROM idempotency d LEFT JOIN instance i ON i.key = d.instance
WHERE d.trigger = ? AND d.key = ?
"""
TAKEN = "SELECT key, id, status FROM instance WHERE workflow = ? AND id = ?"
TAKEN_WITH = "SELECT key, id, status, params FROM instance WHERE workflow = ? AND id = ?"
INSERT_INSTANCE = """
INSERT INTO instance (key, workflow, id, status, created_at, modified_at, wake_at, node, token, version, source, trigger, dedupe_key,
schedule_cron, scheduled_at, parent, parent_inbox_type, success_retention, error_retention, queued_rev, started_rev, labels, params,
provenance)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
INSERT_LABEL = "INSERT INTO label (workflow, name, value, created_at, instance) VALUES (?, ?, ?, ?, ?)"
INSERT_SEEN = "INSERT INTO idempotency (trigger, key, instance, at) VALUES (?, ?, ?, ?)"

# ---- the journal

_STEP = """instance, kind, name, count, ordinal, state, started_at, ended_at, attempt, attempt_started_at, wake_at, config, event_type,
child, output, error"""
UPSERT_STEP = f"""
INSERT INTO step ({_STEP}, rev) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (instance, kind, name, count) DO UPDATE SET ordinal = excluded.ordinal, state = excluded.state,
started_at = excluded.started_at, ended_at = excluded.ended_at, attempt = excluded.attempt,
attempt_started_at = excluded.attempt_started_at, wake_at = excluded.wake_at, config = excluded.config,
event_type = excluded.event_type, child = excluded.child, output = excluded.output, error = excluded.error,
rev = excluded.rev, began_rev = coalesce(step.began_rev, step.rev)
WHERE step.state NOT IN ('done', 'failed')
"""
_ATTEMPT = "instance, kind, name, count, number, started_at, ended_at, retry_at, error"
BEGIN_ATTEMPT = """
INSERT INTO attempt (instance, kind, name, count, number, started_at, began_rev) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
UPSERT_ATTEMPT = f"""
INSERT INTO attempt ({_ATTEMPT}, rev) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (instance, kind, name, count, number) DO UPDATE SET started_at = excluded.started_at, ended_at = excluded.ended_at,
retry_at = excluded.retry_at, error = excluded.error, rev = excluded.rev
"""
INSERT_HISTORY = "INSERT INTO history (instance, rev, kind, at, data) VALUES (?, ?, ?, ?, ?)"
INSERT_EVENT = "INSERT INTO inbox (instance, seq, type, payload, sent_at) VALUES (?, ?, ?, ?, ?)"
CONSUME_EVENT = "DELETE FROM inbox WHERE instance = ? AND seq = ?"
SHIFT_TIMERS = "UPDATE step SET wake_at = wake_at + ? WHERE instance = ? AND state = 'waiting' AND wake_at IS NOT NULL"

# ---- restarting

OF_NAME = "SELECT kind, ordinal FROM step WHERE instance = ? AND name = ? AND count = ?"
FORGET_ATTEMPTS_SINCE = """
DELETE FROM attempt WHERE instance = ?1 AND EXISTS (SELECT 1 FROM step s WHERE s.instance = ?1 AND s.kind = attempt.kind
AND s.name = attempt.name AND s.count = attempt.count AND s.ordinal >= ?2)
"""
FORGET_STEPS_SINCE = "DELETE FROM step WHERE instance = ? AND ordinal >= ?"
FORGET_ATTEMPTS = "DELETE FROM attempt WHERE instance = ?"
FORGET_STEPS = "DELETE FROM step WHERE instance = ?"
FORGET_HISTORY = "DELETE FROM history WHERE instance = ?"
QUEUED_AGAIN = "UPDATE instance SET queued_rev = ?, started_rev = NULL WHERE key = ?"
FORGET_INBOX = "DELETE FROM inbox WHERE instance = ?"

# ---- deleting

KEEP_SEEN = f"""
UPDATE idempotency SET deleted_id = i.id FROM instance i
WHERE i.key {IN_KEYS} AND idempotency.trigger = i.trigger AND idempotency.key = i.dedupe_key AND idempotency.instance = i.key
"""
KEEP_JOINED = f"""
UPDATE idempotency SET deleted_id = i.id FROM member m JOIN instance i ON i.key = m.instance
WHERE m.instance {IN_KEYS} AND idempotency.trigger = m.trigger AND idempotency.key = m.key AND idempotency.instance = m.instance
"""
_OF_INSTANCE = ("step", "attempt", "inbox", "history", "gate", "collection", "member", "label", "line")
DELETE_CHILDREN = tuple(f"DELETE FROM {table} WHERE instance {IN_KEYS}" for table in _OF_INSTANCE)
DELETE_INSTANCES = f"DELETE FROM instance WHERE key {IN_KEYS}"
INSTANCES_OF_WORKFLOW = "SELECT key FROM instance WHERE workflow = ?"
LIVE_CHILDREN_OF_WORKFLOW = "SELECT key FROM instance WHERE workflow = ? AND parent IS NOT NULL AND ended_at IS NULL ORDER BY key"
DELETE_VERSIONS = "DELETE FROM version WHERE workflow = ?"
WORKFLOW_TO_DELETE = "SELECT key FROM workflow WHERE name = ? FOR UPDATE"
DELETE_WORKFLOW = "DELETE FROM workflow WHERE key = ?"
EXPIRED = "SELECT key FROM instance WHERE expires_at <= ? ORDER BY expires_at, key LIMIT ? FOR UPDATE SKIP LOCKED"
PRUNE_ORPHANS = """
DELETE FROM idempotency
WHERE (trigger, key) IN (SELECT trigger, key FROM idempotency WHERE deleted_id IS NOT NULL AND at < ? ORDER BY at LIMIT ?)
"""

# ---- workflows

VERSION_OF_DIGEST = "SELECT id FROM version WHERE workflow = ? AND digest = ?"
INSERT_WORKFLOW = """
INSERT INTO workflow (id, name, class_name, script_name, created_at, modified_at) VALUES (?, ?, ?, ?, ?, ?) RETURNING key
"""
UPDATE_WORKFLOW = "UPDATE workflow SET class_name = ?, script_name = ?, modified_at = ? WHERE key = ?"
INSERT_VERSION = "INSERT INTO version (id, workflow, class_name, digest, created_at) VALUES (?, ?, ?, ?, ?)"

# ---- nodes and claims

_OF_WORKFLOWS = " AND workflow IN (SELECT key FROM workflow WHERE name = ANY(?))"
_IS_ALLOWED = "(SELECT schema FROM oldest_hub) <= ?"  # a hub that is too old for the database is no node
INSERT_NODE = f"INSERT INTO node (lease_until, started_at, info) SELECT lease_clock(?) + ?, ?, ? WHERE {_IS_ALLOWED} RETURNING key"
RENEW_NODE = f"UPDATE node SET lease_until = lease_clock(?) + ? WHERE key = ? AND {_IS_ALLOWED}"
OLDEST_HUB = "SELECT schema, version FROM oldest_hub"
END_LEASE = "UPDATE node SET lease_until = 0 WHERE key = ?"
END_OTHER_LEASES = "UPDATE node SET lease_until = 0 WHERE key <> ?"
FORGET_NODES = """
DELETE FROM node WHERE lease_until <= lease_clock(?) - ? AND NOT EXISTS
(SELECT 1 FROM instance i WHERE i.ended_at IS NULL AND i.node = node.key)
"""
DEAD_NODES = "SELECT key FROM node WHERE lease_until <= lease_clock(?) AND key <> ?"
_CLAIMED = "FOR UPDATE SKIP LOCKED"  # of two nodes that claim at the same time each gets others
ORPHANS_TO_PAUSE = f"""
SELECT key, flow IS NOT NULL FROM instance WHERE ended_at IS NULL AND node {IN_KEYS} AND wish = 'pause' ORDER BY key {_CLAIMED}
"""
PAUSE_ORPHAN = """
UPDATE instance SET status = 'paused', paused_at = ?1, modified_at = ?1, node = NULL, wish = NULL, recoveries = recoveries + 1
WHERE key = ?2
"""
_ORPHANS = f"SELECT key FROM instance WHERE ended_at IS NULL AND node {IN_KEYS}{{}} ORDER BY key LIMIT ? {_CLAIMED}"
ORPHANS, ORPHANS_OF = _ORPHANS.format(""), _ORPHANS.format(_OF_WORKFLOWS)
_WAITS = "ended_at IS NULL AND node IS NULL"  # ordered by node, too, which PostgreSQL needs to see that an index has the order
_DUE = f"SELECT key, wake_at FROM instance WHERE {_WAITS} AND wake_at <= ?{{}} ORDER BY node, wake_at, key LIMIT ? {_CLAIMED}"
_DUE_AHEAD = f"""
SELECT key, wake_at - ahead FROM instance /*+ INDEXED BY instance_ahead */ WHERE {_WAITS} AND ahead IS NOT NULL AND wake_at <= ?{{}}
ORDER BY wake_at - ahead, key LIMIT ? {_CLAIMED}
"""
DUE, DUE_OF = _DUE.format(""), _DUE.format(_OF_WORKFLOWS)
DUE_AHEAD, DUE_AHEAD_OF = _DUE_AHEAD.format(""), _DUE_AHEAD.format(_OF_WORKFLOWS)
AT_GATES = f"SELECT key, wake_at, flow, ahead, token FROM instance WHERE key {IN_KEYS} AND flow IS NOT NULL"
GOES_ON = f"""
SELECT i.key FROM instance i WHERE i.key {IN_KEYS} AND i.started_at IS NOT NULL AND i.status <> 'rollingBack'
AND (SELECT h.kind FROM history h WHERE h.instance = i.key ORDER BY h.rev DESC LIMIT 1) <> 'running'
"""
CLAIM = """
UPDATE instance SET recoveries = recoveries + CASE WHEN node IS NULL THEN 0 ELSE 1 END, node = ?, token = token + 1, wish = NULL,
wake_at = NULL, modified_at = ?,
status = CASE WHEN status = 'rollingBack' THEN status WHEN started_at IS NULL THEN 'queued' ELSE 'running' END,
started_rev = CASE WHEN status = 'rollingBack' THEN started_rev ELSE coalesce(started_rev, ?) END
WHERE key = ?
"""
CLAIM_BORN = "UPDATE instance SET node = ?, token = 1, wake_at = NULL, started_rev = ? WHERE key = ?"
_NEXT_DUE = """
SELECT min(at) FROM (SELECT min(wake_at) AS at FROM instance WHERE ended_at IS NULL AND node IS NULL AND wake_at IS NOT NULL{}
UNION ALL SELECT min(place) FROM gate WHERE rule = 'deadline' AND key = '' AND place IS NOT NULL) AS waiting
"""
NEXT_DUE, NEXT_DUE_OF = _NEXT_DUE.format(""), _NEXT_DUE.format(_OF_WORKFLOWS)

# ---- reading

HEAD = """
SELECT i.key, w.name, i.id, i.status, i.created_at, i.modified_at, i.started_at, i.ended_at, i.paused_at, i.wake_at, i.node, i.token,
i.wish, i.inbox_seq, i.recoveries, i.version, i.source, i.trigger, i.schedule_cron, i.scheduled_at,
i.version_ran, i.parent, i.parent_inbox_type, i.success_retention, i.error_retention, i.ends_as, i.flow, i.terminated_by, i.labels"""
LARGE = ", i.params, i.output, i.error, i.rollback, i.provenance"
INSTANCES = f"{HEAD}{LARGE} FROM instance i JOIN workflow w ON w.key = i.workflow WHERE i.key {IN_KEYS}"
STEPS = f"SELECT {_STEP} FROM step WHERE instance {IN_KEYS} ORDER BY instance, ordinal, kind, name, count"
ATTEMPTS = f"""
SELECT {_ATTEMPT} FROM attempt WHERE instance {IN_KEYS} AND ended_at IS NOT NULL ORDER BY instance, ended_at, kind, name, count, number
"""
INBOX = f"SELECT instance, seq, type, payload, sent_at FROM inbox WHERE instance {IN_KEYS} ORDER BY instance, seq"
HISTORY = """
SELECT coalesce(began_rev, rev) AS rev, 0 AS part, kind, name, count, CAST(NULL AS INTEGER), CAST(NULL AS BIGINT), CAST(NULL AS TEXT)
FROM step WHERE instance = ?1 AND coalesce(began_rev, rev) > ?2
UNION ALL SELECT rev, 1, kind, name, count, NULL, NULL, NULL FROM step
WHERE instance = ?1 AND rev > ?2 AND state IN ('done', 'failed')
UNION ALL SELECT rev, 2, kind, name, count, number, NULL, NULL FROM attempt WHERE instance = ?1 AND rev > ?2
UNION ALL SELECT began_rev, 4, kind, name, count, number, started_at, NULL FROM attempt WHERE instance = ?1 AND began_rev > ?2
UNION ALL SELECT rev, 3, kind, NULL, NULL, NULL, at, data FROM history WHERE instance = ?1 AND rev > ?2
UNION ALL SELECT queued_rev, 3, 'queued', NULL, NULL, NULL,
coalesce((SELECT max(at) FROM history WHERE instance = ?1 AND kind = 'restarted'), created_at), NULL FROM instance
WHERE key = ?1 AND queued_rev > ?2
UNION ALL SELECT started_rev, 3, 'started', NULL, NULL, NULL, coalesce(started_at, modified_at), NULL FROM instance
WHERE key = ?1 AND started_rev > ?2
UNION ALL SELECT ended_rev, 3, status, NULL, NULL, NULL, ended_at, NULL FROM instance WHERE key = ?1 AND ended_rev > ?2
ORDER BY 1, 2 LIMIT ?3
"""
STEP = f"SELECT {_STEP} FROM step WHERE instance = ? AND kind = ? AND name = ? AND count = ?"
ATTEMPT = f"SELECT {_ATTEMPT} FROM attempt WHERE instance = ? AND kind = ? AND name = ? AND count = ? AND number = ?"
INBOX_AFTER = "SELECT instance, seq, type, payload, sent_at FROM inbox WHERE instance = ? AND seq > ? ORDER BY seq LIMIT ?"
COUNTS = """
SELECT status, CAST(sum(number) AS BIGINT) FROM (SELECT status, count(*) AS number FROM instance GROUP BY workflow, status) AS counted
GROUP BY status
"""
_WORKFLOW_FILTER = """
FROM workflow w WHERE name = coalesce(?1, name) AND (CAST(?2 AS TEXT) IS NULL OR strpos(lower(name), lower(CAST(?2 AS TEXT))) > 0)
"""
_NEWEST = "SELECT max(created_at) AS at FROM instance i WHERE i.workflow = w.key AND i.status = '{}'"
_TRIGGERED = " UNION ALL ".join(_NEWEST.format(status) for status in Status)  # by status, because the index is: each is one look
WORKFLOWS = f"""
SELECT key, id, name, class_name, script_name, created_at, modified_at,
(SELECT max(at) FROM (SELECT triggered_at AS at UNION ALL {_TRIGGERED}) AS newest) {_WORKFLOW_FILTER} ORDER BY key DESC LIMIT ?3 OFFSET ?4
"""
WORKFLOWS_TOTAL = f"SELECT count(*) {_WORKFLOW_FILTER}"
WORKFLOW_COUNTS = f"SELECT workflow, status, count(*) FROM instance WHERE workflow {IN_KEYS} GROUP BY workflow, status"
_VERSION_FILTER = "FROM version v JOIN workflow w ON w.key = v.workflow WHERE w.name = ?1 AND v.id = coalesce(?2, v.id)"
VERSIONS = f"SELECT v.id, w.name, v.class_name, v.digest, v.created_at {_VERSION_FILTER} ORDER BY v.key DESC LIMIT ?3 OFFSET ?4"
VERSIONS_TOTAL = f"SELECT count(*) {_VERSION_FILTER}"
