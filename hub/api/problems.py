"""What an error looks like from outside: its HTTP status, its stable number and its message.

Owns the table from the error's code words to status and number. Never shows a stack trace, a path or the text of an unexpected error: such
a one becomes 500 with a request id that the log carries too. A message begins with its code words in parentheses, so that programs may
read either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import ValidationError

from hub.core.errors import Conflict, HubError, NotFound, PayloadTooLarge, Rejected, Unavailable

RETRY_AFTER_S = 5  # long enough for a busy disk or a database fail-over to pass, short enough for a webhook sender's deadline
_MAX_FAULTS = 3  # of one validation; more would hide the first
_JSON_WORDS = {"model_type": "must be an object", "dict_type": "must be an object", "list_type": "must be a list"}  # not Python's

# The numbers up to 10415 are Cloudflare's own; those from 10900 are ours and never change their meaning.
_TABLE: dict[str, tuple[int, int]] = {
    "route.unknown": (404, 7000),
    "method.not_allowed": (405, 7001),
    "account.not_found": (404, 7003),
    "unauthorized": (401, 10000),
    "internal_server": (500, 10001),
    "workflow.not_found": (404, 10200),
    "instance.not_found": (404, 10400),
    "instance.already_exists": (409, 10405),
    "instance.duplicate_in_batch": (409, 10415),
    "rejected": (400, 10900),
    "body": (400, 10901),
    "payload.malformed": (400, 10901),
    "payload.dedupe_key": (400, 10901),
    "payload.cloudevent": (400, 10901),
    "query": (400, 10902),
    "query.cursor": (400, 10902),
    "query.invalid": (400, 10902),
    "content_type": (415, 10903),
    "payload.unsupported_type": (415, 10903),
    "payload.too_large": (413, 10904),
    "instance.invalid_id": (400, 10905),
    "workflow.invalid_name": (400, 10906),
    "workflow.invalid_event_type": (400, 10907),
    "version.not_found": (404, 10908),
    "step.not_found": (404, 10909),
    "not_found": (404, 10910),
    "conflict": (409, 10911),
    "instance.cannot_pause": (409, 10912),
    "instance.cannot_resume": (409, 10913),
    "instance.cannot_terminate": (409, 10914),
    "instance.cannot_restart": (409, 10915),
    "instance.cannot_send_event": (409, 10916),
    "instance.invalid_retention": (400, 10917),
    "instance.invalid_labels": (400, 10970),
    "instance.other_input": (409, 10971),
    "job.not_found": (404, 10972),
    "job.too_many": (409, 10973),
    "subscription.invalid_options": (400, 10918),
    "unavailable": (503, 10920),
    "origin.forbidden": (403, 10921),
    "rate_limit": (429, 10922),
    "payload.schema": (422, 10923),
    "payload.key_reused": (422, 10924),
    "overloaded": (429, 10925),
    "trigger.not_found": (404, 10930),
    "trigger.no_schedule": (409, 10931),
    "trigger.disabled": (409, 10932),
    "trigger.cannot_fire": (409, 10933),
    "delivery.not_found": (404, 10934),
    "delivery.replayed": (409, 10935),
    "workflow.declared": (409, 10936),
    "delivery.of_handler": (409, 10937),
    "queue.not_found": (404, 10960),
    "queue.already_exists": (409, 10961),
    "queue.in_use": (409, 10962),
    "queue.invalid_name": (400, 10963),
    "queue.body": (400, 10964),
    "queue.content_type": (400, 10964),
    "queue.delay": (400, 10964),
    "request.malformed": (400, 10940),
    "request.timeout": (408, 10941),
    "head.too_large": (431, 10942),
    "scope.missing": (403, 10950),
    "account.forbidden": (403, 10951),
    "host.unknown": (421, 10952),
    "token.invalid": (400, 10953),
    "token.first": (409, 10954),
    "token.not_found": (404, 10955),
    "node.not_found": (404, 10956),
    "token.expired": (401, 10000),
    "flow.singleton": (409, 10926),
    "flow.concurrency": (409, 10927),
    "flow.debounce": (409, 10928),
}
WORDS = tuple(_TABLE)  # all code words that have a number of their own or share one
_BY_CLASS: tuple[tuple[type[HubError], str], ...] = (
    # for code words that the table does not know; a subclass stands before its parent
    (PayloadTooLarge, "payload.too_large"),
    (Rejected, "rejected"),
    (NotFound, "not_found"),
    (Conflict, "conflict"),
    (Unavailable, "unavailable"),
    (HubError, "internal_server"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An answer that tells of an error."""

    status: int
    number: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def of(error: HubError) -> Problem:
    """Turn an error of the hub's own tree into an answer."""
    words = error.code if error.code in _TABLE else next(code for kind, code in _BY_CLASS if isinstance(error, kind))
    status, number = _TABLE[words]
    wish = error.retry_after if isinstance(error, Unavailable) else None
    return Problem(status=status, number=number, message=worded(error.code, error.message), headers=_headers(status, wish))


def unexpected(request_id: str, what: str = "the hub met an unexpected error") -> Problem:
    """Answer an error that nobody foresaw; everything about it is in the log under that id."""
    status, number = _TABLE["internal_server"]
    message = worded("internal_server", f"{what}; the hub's log tells more under request id {request_id}")
    return Problem(status=status, number=number, message=message, headers={"x-request-id": request_id})


def number(words: str) -> int:
    """Return the number of code words; unknown ones count as rejected input."""
    return _TABLE.get(words, _TABLE["rejected"])[1]


def status(words: str) -> int:
    """Return the HTTP status of code words that the table knows."""
    return _TABLE[words][0]


def worded(words: str, message: str) -> str:
    """Put the code words before a message, once."""
    prefix = f"({words})"
    return message if message.startswith(prefix) else f"{prefix} {message}"


def invalid(error: ValidationError, code: str) -> Rejected:
    """Turn the faults of a body or a query into an error that names each field."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    told = [_place(fault["loc"]) + (_JSON_WORDS.get(fault["type"]) or _lower_first(fault["msg"])) for fault in faults[:_MAX_FAULTS]]
    if len(faults) > _MAX_FAULTS:
        told.append(f"and {len(faults) - _MAX_FAULTS} more")
    return Rejected("; ".join(told), code=code)


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return f"{text}: " if text else ""


def _lower_first(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _headers(status: int, retry_after: timedelta | None) -> dict[str, str]:
    if status in (429, 503):
        return {"retry-after": str(RETRY_AFTER_S if retry_after is None else max(1, math.ceil(retry_after.total_seconds())))}
    if status == 409:
        return {"x-should-retry": "false"}  # the official SDKs repeat a 409 otherwise
    if status == 401:
        return {"www-authenticate": "Bearer"}
    return {}
