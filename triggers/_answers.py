"""What a sender is told: the answer to an event that is on disk, now or once its instance has ended.

Never makes an answer before there is a receipt. Shows of an instance no more than its output, or the name and the message of its error: who
may send to a webhook may often do nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hub.core.codec import dump_plain, plain
from hub.core.delivery import Receipt, ReceiptStatus
from hub.core.errors import HubError
from hub.core.model import HttpReply, HttpRequest, Instance, Status
from hub.core.ports import TriggerContext
from hub.core.preference import Wait, asked_wait
from triggers._hook_config import ReplyConfig

_PLACEHOLDER = re.compile(r"\{(id|workflow|status|status_url)\}")
_JSON = {"content-type": "application/json"}


def facts(ctx: TriggerContext, receipt: Receipt) -> dict[str, Any]:
    """Return what a receipt says, as JSON."""
    told: dict[str, Any] = {}
    filtered = receipt.status is ReceiptStatus.FILTERED  # the instance is one that was in the way, and no business of the sender
    if receipt.workflow is not None and receipt.instance_id is not None and not filtered:
        told = {"id": receipt.instance_id, "workflow": receipt.workflow}
        if receipt.status is ReceiptStatus.CREATED:
            told["status"] = Status.QUEUED  # of a duplicate nothing is said: the first one may have ended long ago
        told["status_url"] = ctx.routes.status_path(receipt.workflow, receipt.instance_id)
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


def asked(request: HttpRequest, longest: timedelta | None) -> Wait | None:
    """Return how long the sender wants to wait, within what is allowed; None = not at all. Raises: Rejected with code `query`."""
    return None if longest is None else asked_wait(request.query.get("wait"), request.headers.get("prefer", ""), longest)


def ended(ctx: TriggerContext, instance: Instance, wait: Wait) -> HttpReply:
    """Answer with the end of an instance: 200 with its output, 500 with the error of one that did not come through."""
    told: dict[str, Any] = {"id": instance.id, "workflow": instance.workflow, "status": instance.status}
    told["status_url"] = ctx.routes.status_path(instance.workflow, instance.id)
    if instance.status is Status.COMPLETE:
        told["output"] = plain(instance.output or b"null")
        return HttpReply(status=200, body=dump_plain(told), headers=_JSON | wait.headers)
    error = instance.error
    told["error"] = {"name": error.name, "message": error.message} if error is not None else None
    return HttpReply(status=500, body=dump_plain(told), headers={**_JSON, **wait.headers, "x-should-retry": "false"})
