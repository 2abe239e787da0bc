"""What may come in: the rules for ids, names, event types and payload sizes. Pure; every refusal says what would be accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from hub.core.errors import NotFound, PayloadTooLarge, Rejected

ID_CHARS, NAME_CHARS, EVENT_TYPE_CHARS, DERIVED_ID_CHARS = 100, 64, 100, 271
BATCH = 100
_WORD = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]*")
_DERIVED = re.compile(r"[a-zA-Z0-9, */#_-]+")
_RESERVED = frozenset({"batch", "terminate", "terminateAll", "latest"})  # words with a meaning of their own in REST paths


def check_id(id: str) -> str:
    """Return an id that a user chose. Raises: Rejected."""
    if not isinstance(id, str) or len(id) > ID_CHARS or not _WORD.fullmatch(id):
        raise Rejected(
            f"invalid instance id {_shown(id)}: 1 to {ID_CHARS} of a-z A-Z 0-9 _ -, not beginning with -", code="instance.invalid_id"
        )
    if id in _RESERVED:
        raise Rejected(f'the id "{id}" is reserved; choose another', code="instance.invalid_id")
    return id


def check_queue_name(name: str) -> str:
    """Return a name for a queue. Raises: Rejected."""
    if not isinstance(name, str) or len(name) > NAME_CHARS or not _WORD.fullmatch(name):
        raise Rejected(
            f"invalid name of a queue {_shown(name)}: 1 to {NAME_CHARS} of a-z A-Z 0-9 _ -, not beginning with -", code="queue.invalid_name"
        )
    return name


def check_derived_id(id: str) -> str:
    """Return an id that a trigger derived, as cron does: spaces and * / , # are allowed too. Raises: Rejected."""
    if len(id) > DERIVED_ID_CHARS or not _DERIVED.fullmatch(id):
        raise Rejected(f"invalid instance id {_shown(id)}", code="instance.invalid_id")
    return id


def check_event_type(type: str) -> str:
    """Return an event type. Raises: Rejected."""
    if not isinstance(type, str) or len(type) > EVENT_TYPE_CHARS or not _WORD.fullmatch(type):
        raise Rejected(
            f"invalid event type {_shown(type)}: 1 to {EVENT_TYPE_CHARS} of a-z A-Z 0-9 _ -, not beginning with -",
            code="workflow.invalid_event_type",
        )
    return type


def check_size(payload: bytes, limit: int, what: str) -> bytes:
    """Return an encoded payload that is within the limit. Raises: PayloadTooLarge."""
    if len(payload) > limit:
        raise PayloadTooLarge(
            f"the {what} is {len(payload):,} bytes; at most {limit:,} are accepted (limits.payload_bytes). "
            "Store large data elsewhere and send a reference to it."
        )
    return payload


def unknown_workflow(name: str, known: Iterable[str]) -> NotFound:
    """Return the error for a workflow that does not exist, with the nearest name."""
    return NotFound(f"workflow {_shown(name)} not found{nearest_name(name, known)}", code="workflow.not_found")


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest one, or all that there are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f'; did you mean "{near[0]}"?' if near else f"; there are: {', '.join(names) or 'none'}"


def deleted_workflow(name: str) -> NotFound:
    """Return the error for a workflow that this node has the code of, and that somebody has deleted."""
    return NotFound(
        f"workflow {_shown(name)} not found: it was deleted; it comes back when a hub starts whose hub.toml has it",
        code="workflow.not_found",
    )


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"'
