"""Setup requests: what senders ask once, to learn that an address wants to hear from them. They start nothing.

Each answer is what that sender documents. Requests without a signature are answered only where the configuration names their sender; those
that are signed come here after the signature was checked.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

from hub.core.codec import dump_plain
from hub.core.model import HttpReply, HttpRequest
from triggers._hook_config import HttpConfig

_MAX_CHALLENGE_CHARS = 1000  # nobody needs an echo of more


def unsigned(config: HttpConfig, head: HttpRequest) -> HttpReply | None:
    """Answer a setup request that comes without a body; None = it is none."""
    if head.method == "OPTIONS" and config.allowed_origins:
        return _allowed(config, head)
    if head.method == "GET" and "meta" in config.active_handshakes:
        return _meta(config, head)
    return None


def signed(active: Sequence[str], request: HttpRequest, payload: Any) -> HttpReply | None:
    """Answer a setup request with a body, whose signature was checked where there is one; None = it is none."""
    for name in active:
        reply = _SIGNED[name](request, payload) if name in _SIGNED else None
        if reply is not None:
            return reply
    return None


def methods(config: HttpConfig) -> tuple[str, ...]:
    """Return the methods that the address must hear beside those of its events."""
    options = ("OPTIONS",) if config.allowed_origins else ()
    return (*options, *(("GET",) if "meta" in config.active_handshakes else ()))


def _allowed(config: HttpConfig, head: HttpRequest) -> HttpReply | None:
    """Let a sender of CloudEvents in (HTTP webhooks for event delivery, section 4)."""
    origin = head.headers.get("webhook-request-origin", "")
    named = origin.lower() in config.allowed_origins
    if not origin or not (named or "*" in config.allowed_origins):
        return None
    headers = {"allow": ", ".join(config.methods), "webhook-allowed-origin": origin if named else "*"}
    if "webhook-request-rate" in head.headers:
        rate = config.max_requests
        headers["webhook-allowed-rate"] = "*" if rate is None else str(max(1, round(rate.limit * 60 / rate.period.total_seconds())))
    return HttpReply(status=200, headers=headers)


def _meta(config: HttpConfig, head: HttpRequest) -> HttpReply | None:
    challenge = head.query.get("hub.challenge", "")
    token = config.verify.challenge_token if config.verify is not None else None
    if head.query.get("hub.mode") != "subscribe" or token is None or not 0 < len(challenge) <= _MAX_CHALLENGE_CHARS:
        return None
    shown = head.query.get("hub.verify_token", "").encode("utf-8", "surrogateescape")
    return _text(challenge) if hmac.compare_digest(shown, token.get_secret_value().encode()) else None


def _slack(_request: HttpRequest, payload: Any) -> HttpReply | None:
    if not isinstance(payload, dict) or payload.get("type") != "url_verification":
        return None
    challenge = payload.get("challenge")
    return _text(challenge) if isinstance(challenge, str) and len(challenge) <= _MAX_CHALLENGE_CHARS else None


def _discord(_request: HttpRequest, payload: Any) -> HttpReply | None:
    """Answer the PING of interactions (type 1), and that of webhook events (type 0), whose own events have type 1 too."""
    if not isinstance(payload, dict) or isinstance(payload.get("type"), bool):
        return None
    if payload.get("type") == 1 and "event" not in payload:
        return _json({"type": 1})
    return HttpReply(status=204) if payload.get("type") == 0 else None


def _eventgrid(request: HttpRequest, payload: Any) -> HttpReply | None:
    if request.headers.get("aeg-event-type", "").lower() != "subscriptionvalidation" or not isinstance(payload, list) or not payload:
        return None
    data = payload[0].get("data") if isinstance(payload[0], dict) else None
    code = data.get("validationCode") if isinstance(data, dict) else None
    return _json({"validationResponse": code}) if isinstance(code, str) and len(code) <= _MAX_CHALLENGE_CHARS else None


_SIGNED = {"slack": _slack, "discord": _discord, "eventgrid": _eventgrid}


def _text(body: str) -> HttpReply:
    headers = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}  # no browser may take an echo for a page
    return HttpReply(status=200, body=body.encode("utf-8", "replace"), headers=headers)


def _json(body: Any) -> HttpReply:
    return HttpReply(status=200, body=dump_plain(body), headers={"content-type": "application/json"})
