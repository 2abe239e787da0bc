"""What a sender is told: the answer to an event that is on disk, now or once its instance has ended.

Never makes an answer before there is a receipt. Shows of an instance no more than its output, or the name and the message of its error: who
may send to a webhook may often do nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hub.core.codec import dump_plain, plain
from hub.core.delivery import Receipt, ReceiptStatus
from hub.core.errors import HubError, Rejected
from hub.core.model import HttpReply, HttpRequest, Instance, Status
from hub.core.ports import TriggerContext
from triggers._hook_config import ReplyConfig

_PLACEHOLDER = re.compile(r"\{(id|workflow|status|status_url)\}")
_PREFERENCE = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=[,;]|$)", re.IGNORECASE)  # RFC 7240, section 4.3
_WAIT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "": "seconds", "m": "minutes"}
_JSON = {"content-type": "application/json"}


def facts(ctx: TriggerContext, receipt: Receipt) -> dict[str, Any]:
    """Return what a receipt says, as JSON."""
    told: dict[str, Any] = {}
    filtered = receipt.status is ReceiptStatus.FILTERED  # the instance is one that was in the way, and no business of the sender
    if receipt.workflow is not None and receipt.instance_id is not None and not filtered:
        told = {"id": receipt.instance_id, "workflow": receipt.workflow}
        if receipt.status is ReceiptStatus.CREATED:
            told["status"] = Status.QUEUED  # of a duplicate nothing is said: the first one may have ended long ago
        told["status_url"] = ctx.status_path(receipt.workflow, receipt.instance_id)
    if receipt.status is ReceiptStatus.DUPLICATE:
        told["duplicate"] = True
    elif receipt.status is ReceiptStatus.DELIVERED:
        told["delivered"] = True  # to an instance that collects events, or as the end of some
    elif receipt.status is ReceiptStatus.HELD:
        told["held"] = True
    elif filtered:
        told |= {"filtered": True, "reason": receipt.reason}
    return told if receipt.delivery is None else {**told, "delivery": receipt.delivery}


def accepted(ctx: TriggerContext, receipt: Receipt, config: ReplyConfig) -> HttpReply:
    """Return the answer to an event that is on disk, or that was knowingly filtered out."""
    return written(facts(ctx, receipt), config)


def unended(ctx: TriggerContext, receipt: Receipt, config: ReplyConfig, wait: Wait) -> HttpReply:
    """Answer one who asked to wait for an end that has not come: always 202, or it would look like the end."""
    reply = written(facts(ctx, receipt), config.model_copy(update={"status": 202, "body": None}))
    return replace(reply, headers=reply.headers | wait.headers)


def written(told: dict[str, Any], config: ReplyConfig) -> HttpReply:
    """Put what is told into the configured form."""
    if config.status == 204:
        return HttpReply(status=204, headers=dict(config.headers))
    if config.body is None:
        return HttpReply(status=config.status, body=dump_plain(told), headers=_JSON | config.headers)
    body = _PLACEHOLDER.sub(lambda name: str(told.get(name[1], "")), config.body)
    return HttpReply(status=config.status, body=body.encode(), headers={"content-type": config.content_type, **config.headers})


def batch(ctx: TriggerContext, results: Sequence[Receipt | HubError], config: ReplyConfig) -> HttpReply:
    """Answer a batch event by event; 422 when one was refused, though the others are on disk. `reply.body` has no words for several."""
    events = [
        {"error": {"code": result.code, "message": result.message}} if isinstance(result, HubError) else facts(ctx, result)
        for result in results
    ]
    if any(isinstance(result, HubError) for result in results):
        return HttpReply(status=422, body=dump_plain({"events": events}), headers=_JSON)
    return written({"events": events}, config.model_copy(update={"body": None}))


# ---- waiting for the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long a sender waits for the end, and whether it said so by the header `Prefer`."""

    timeout: timedelta
    preferred: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """What tells the sender that its preference was heard."""
        return {"preference-applied": f"wait={int(self.timeout.total_seconds())}"} if self.preferred else {}


def asked_wait(request: HttpRequest, longest: timedelta | None) -> Wait | None:
    """Return how long the sender wants to wait, within what is allowed; None = not at all. Raises: Rejected with code `query`."""
    if longest is None:
        return None
    if "wait" in request.query:
        text = request.query["wait"]
        found = _WAIT.fullmatch(text)
        if found is None:
            raise Rejected(f"wait={text[:40]!r} is not a time such as 30s", code="query")
        timeout = timedelta(**{_UNITS[found[2]]: float(found[1])})
        return Wait(timeout=min(timeout, longest)) if timeout else None
    preference = _PREFERENCE.search(request.headers.get("prefer", ""))
    if preference is None or not int(preference[1]):
        return None
    return Wait(timeout=min(timedelta(seconds=int(preference[1])), longest), preferred=True)


def ended(ctx: TriggerContext, instance: Instance, wait: Wait) -> HttpReply:
    """Answer with the end of an instance: 200 with its output, 500 with the error of one that did not come through."""
    told: dict[str, Any] = {"id": instance.id, "workflow": instance.workflow, "status": instance.status}
    told["status_url"] = ctx.status_path(instance.workflow, instance.id)
    if instance.status is Status.COMPLETE:
        told["output"] = plain(instance.output or b"null")
        return HttpReply(status=200, body=dump_plain(told), headers=_JSON | wait.headers)
    error = instance.error
    told["error"] = {"name": error.name, "message": error.message} if error is not None else None
    return HttpReply(status=500, body=dump_plain(told), headers={**_JSON, **wait.headers, "x-should-retry": "false"})
