"""What must hold in every database of the hub, whatever crash came when: one query a rule, which finds the rows that break it.

Rules only; they change nothing and run inside the read transaction of their caller. Every row that a rule names is a fault of the hub or of
whoever wrote into the file: nothing that a workflow, a trigger or an operator does may break one.
"""

from __future__ import annotations

from typing import NamedTuple

_FINAL = "('complete', 'errored', 'terminated')"
_OF_INSTANCES = ("step", "attempt", "history", "inbox", "gate", "collection", "member", "label", "line")


class Rule(NamedTuple):
    """A rule in words, and a query for what breaks it: one text a row."""

    name: str
    words: str
    broken: str


def _orphans(table: str) -> Rule:
    return Rule(
        f"{table}.orphan",
        f"every row of `{table}` belongs to an instance",
        f"SELECT DISTINCT 'instance ' || instance FROM {table} AS o WHERE NOT EXISTS (SELECT 1 FROM instance i WHERE i.key = o.instance)",
    )


def _guarded(table: str, words: str) -> Rule:
    return Rule(
        f"{table}.guard",
        words,
        f"SELECT 'the database trigger {table}_final is missing' "
        f"WHERE NOT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = '{table}_final')",
    )


RULES = (
    Rule(
        "integrity",
        "the file is whole, and its indexes agree with its tables",
        "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    ),
    Rule("reference", "every reference leads to a row", "SELECT \"table\" || ' → ' || parent FROM pragma_foreign_key_check"),
    *(_orphans(table) for table in _OF_INSTANCES),
    Rule(
        "instance.end",
        "an instance has an end exactly when its status is final",
        f"SELECT id FROM instance WHERE (status IN {_FINAL}) <> (ended_at IS NOT NULL)",
    ),
    Rule(
        "instance.final",
        "what has ended is claimed by nobody and waits for nothing",
        f"SELECT id FROM instance WHERE status IN {_FINAL} AND (node IS NOT NULL OR wake_at IS NOT NULL OR wish IS NOT NULL)",
    ),
    Rule(
        "instance.complete",
        "a complete instance has no error",
        "SELECT id FROM instance WHERE status = 'complete' AND error IS NOT NULL",
    ),
    Rule(
        "instance.stranded",
        "what has not ended is claimed, paused, or knows what it waits for",
        "SELECT id FROM instance WHERE status IN ('queued', 'running', 'rollingBack') "
        "AND node IS NULL AND wake_at IS NULL AND flow IS NULL",
    ),
    Rule(
        "instance.claim",
        "an instance is claimed by a node that the database knows, with a token",
        "SELECT i.id FROM instance i WHERE i.ended_at IS NULL AND i.node IS NOT NULL "
        "AND (i.token = 0 OR NOT EXISTS (SELECT 1 FROM node n WHERE n.key = i.node))",
    ),
    _guarded("instance", "the database itself keeps what has ended from being changed"),
    Rule(
        "step.settled",
        "a step that is done or has failed has an end, and no other step has one",
        "SELECT 'instance ' || instance || ', ' || name || '-' || count FROM step "
        "WHERE (state IN ('done', 'failed')) <> (ended_at IS NOT NULL)",
    ),
    Rule(
        "step.order",
        "no two entries of a journal began as the same one",
        "SELECT 'instance ' || instance || ', entry ' || ordinal FROM step GROUP BY instance, ordinal HAVING count(*) > 1",
    ),
    Rule(
        "attempt.step",
        "every attempt belongs to a step of the journal",
        "SELECT 'instance ' || instance || ', ' || name || '-' || count FROM attempt a WHERE NOT EXISTS "
        "(SELECT 1 FROM step s WHERE s.instance = a.instance AND s.kind = a.kind AND s.name = a.name AND s.count = a.count)",
    ),
    Rule(
        "inbox.number",
        "no event has a higher number than its instance has given",
        "SELECT i.id FROM inbox e JOIN instance i ON i.key = e.instance WHERE e.seq > i.inbox_seq",
    ),
    Rule(
        "idempotency.instance",
        "a key that was seen leads to its instance, or to the id of a deleted one",
        "SELECT k.trigger || ': ' || k.key FROM idempotency k WHERE k.deleted_id IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.key = k.instance)",
    ),
    Rule(
        "revision.used",
        "every revision was given before it was used",
        "SELECT 'revision ' || top FROM (SELECT max(rev) AS top FROM "
        "(SELECT max(rev) AS rev FROM step UNION ALL SELECT max(rev) FROM history "
        "UNION ALL SELECT max(rev) FROM line UNION ALL SELECT max(lease) FROM message "
        "UNION ALL SELECT max(coalesce(ended_rev, started_rev, queued_rev)) FROM instance) AS used) AS highest "
        "WHERE top >= (SELECT used_below FROM revision)",
    ),
    Rule(
        "label.filed",
        "an instance with labels is found by them, in the place of its list where it belongs",
        "SELECT id FROM instance i WHERE labels IS NOT NULL AND NOT EXISTS (SELECT 1 FROM label l WHERE l.instance = i.key) "
        "UNION ALL SELECT i.id FROM label l JOIN instance i ON i.key = l.instance "
        "WHERE i.labels IS NULL OR l.workflow <> i.workflow OR l.created_at <> i.created_at",
    ),
    Rule(
        "line.step",
        "every line was logged by a step of the journal",
        "SELECT DISTINCT 'instance ' || instance || ', ' || name || '-' || count FROM line l WHERE NOT EXISTS "
        "(SELECT 1 FROM step s WHERE s.instance = l.instance AND s.name = l.name AND s.count = l.count)",
    ),
    Rule(
        "line.total",
        "the bytes of the lines of an instance grow with every line",
        "SELECT DISTINCT 'instance ' || instance FROM (SELECT instance, total, lag(total, 1, 0) OVER "
        "(PARTITION BY instance ORDER BY rev, seq) AS before FROM line) AS lines WHERE total <= before",
    ),
    Rule(
        "message.queue",
        "every message lies in a queue that the database knows",
        "SELECT queue || ': ' || id FROM message m WHERE NOT EXISTS (SELECT 1 FROM queue q WHERE q.name = m.queue)",
    ),
    Rule(
        "message.held",
        "who holds a message holds it by a lease, and by a delivery that counts",
        "SELECT queue || ': ' || id FROM message WHERE (node IS NOT NULL AND lease IS NULL) OR (attempts = 0 AND lease IS NOT NULL)",
    ),
    Rule(
        "message.lease",
        "no lease was given twice",
        "SELECT 'lease ' || lease FROM message WHERE lease IS NOT NULL GROUP BY lease HAVING count(*) > 1",
    ),
    Rule(
        "token.whole",
        "a token has the SHA-256 of its text, and opens something",
        "SELECT id FROM token WHERE length(digest) <> 32 OR trim(scopes) = ''",
    ),
    _guarded("audit", "the database itself keeps the audit log from being changed"),
    Rule(
        "json",
        "what instances got and gave is JSON",
        "SELECT id FROM instance WHERE NOT json_valid(CAST(params AS TEXT)) "
        "OR (output IS NOT NULL AND NOT json_valid(CAST(output AS TEXT)))",
    ),
)
