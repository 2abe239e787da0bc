"""Requests as real senders make them: signed by their own packages, or as their published examples say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import standardwebhooks
import stripe
import svix
from nacl.signing import SigningKey
from slack_sdk.signature import Clock, SignatureVerifier

from hub.core.model import HttpRequest

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNING_KEY = SigningKey(bytes(range(32)))
PUBLIC_KEY = bytes(SIGNING_KEY.verify_key)
BODY = b'{"id": "evt_1",  "n": 1.0}\n'  # no library writes it like that: whoever parses and writes again has other bytes

Sign = Callable[[str, bytes, datetime], dict[str, str]]


def request(
    headers: dict[str, str], body: bytes = BODY, *, target: str = "/hooks/in", content_type: str = "application/json"
) -> HttpRequest:
    path, _, query = target.partition("?")
    pairs = dict(pair.split("=", 1) for pair in query.split("&") if pair)
    named = {"content-type": content_type, **headers}
    return HttpRequest(method="POST", url=f"http://hub:8787{target}", path=path, target=target, query=pairs, headers=named, body=body)


def standard(secret: str, body: bytes, at: datetime, id: str = "msg_1") -> dict[str, str]:
    signature = standardwebhooks.Webhook(secret).sign(id, at, body.decode())
    return {"webhook-id": id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def svix_(secret: str, body: bytes, at: datetime, id: str = "msg_1") -> dict[str, str]:
    signature = svix.Webhook(secret).sign(id, at, body.decode())
    return {"svix-id": id, "svix-timestamp": str(int(at.timestamp())), "svix-signature": signature}


def asymmetric(_secret: str, body: bytes, at: datetime, id: str = "msg_1") -> dict[str, str]:
    seconds = str(int(at.timestamp()))
    signature = SIGNING_KEY.sign(f"{id}.{seconds}.".encode() + body).signature
    encoded = base64.b64encode(signature).decode()
    return {"webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": f"v1a,{encoded}"}


def stripe_(secret: str, body: bytes, at: datetime) -> dict[str, str]:
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, int(at.timestamp()))
    return {"stripe-signature": f"{header},v0=0123"}


def slack(secret: str, body: bytes, at: datetime) -> dict[str, str]:
    seconds = str(int(at.timestamp()))
    signature = SignatureVerifier(secret, Clock()).generate_signature(timestamp=seconds, body=body)
    assert signature is not None
    return {"x-slack-signature": signature, "x-slack-request-timestamp": seconds}


def github(secret: str, body: bytes, _at: datetime) -> dict[str, str]:
    return {"x-hub-signature-256": f"sha256={hmac.new(secret.encode(), body, 'sha256').hexdigest()}", "x-github-delivery": "d1"}


def shopify(secret: str, body: bytes, _at: datetime) -> dict[str, str]:
    return {"x-shopify-hmac-sha256": _base64(secret, body), "x-shopify-webhook-id": "w1"}


def square(secret: str, body: bytes, _at: datetime) -> dict[str, str]:
    return {"x-square-hmacsha256-signature": _base64(secret, b"http://hub:8787/hooks/in" + body)}


def twilio(secret: str, body: bytes, _at: datetime, url: str = "http://hub:8787/hooks/in") -> dict[str, str]:
    digest = hashlib.sha256(body).hexdigest()
    return {"x-twilio-signature": _base64(secret, f"{url}?bodySHA256={digest}".encode(), "sha1")}


def gitlab(secret: str, _body: bytes, _at: datetime) -> dict[str, str]:
    return {"x-gitlab-token": secret, "idempotency-key": "k1"}


def discord(_secret: str, body: bytes, at: datetime) -> dict[str, str]:
    seconds = str(int(at.timestamp()))
    return {
        "x-signature-ed25519": SIGNING_KEY.sign(seconds.encode() + body).signature.hex(),
        "x-signature-timestamp": seconds,
    }


def token(secret: str, _body: bytes, _at: datetime) -> dict[str, str]:
    return {"x-hook-secret": secret}


def bearer(secret: str, _body: bytes, _at: datetime) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def basic(secret: str, _body: bytes, _at: datetime) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


def generic(secret: str, body: bytes, at: datetime) -> dict[str, str]:
    """Sign as a sender that nobody has heard of: SHA-512 over the time in milliseconds, a line break and the body."""
    moment = str(int(at.timestamp() * 1000))
    return {"x-acme-time": moment, "x-acme-sign": hmac.new(secret.encode(), moment.encode() + b"\n" + body, "sha512").hexdigest().upper()}


GENERIC = {
    "header": "X-Acme-Sign",
    "algorithm": "sha512",
    "template": "{timestamp}\n{body}",
    "timestamp_header": "X-Acme-Time",
    "timestamp_unit": "ms",
}

# preset, what else is set, one secret, another one of the same form, how the sender signs
SENDERS: dict[str, tuple[str, dict[str, Any], str, str, Sign]] = {
    "standard": ("standard-webhooks", {}, WHSEC, "whsec_" + base64.b64encode(b"x" * 24).decode(), standard),
    "asymmetric": (
        "standard-webhooks",
        {},
        "whpk_" + base64.b64encode(PUBLIC_KEY).decode(),
        "whpk_" + base64.b64encode(bytes(SigningKey(bytes(32)).verify_key)).decode(),
        asymmetric,
    ),
    "svix": ("svix", {}, WHSEC, "whsec_" + base64.b64encode(b"x" * 24).decode(), svix_),
    "github": ("github", {}, "It's a Secret to Everybody", "other", github),
    "stripe": ("stripe", {}, "whsec_stripe_keeps_its_prefix", "whsec_other", stripe_),
    "slack": ("slack", {}, "8f742231b10e8888abcd99yyyzzz85a5", "other", slack),
    "shopify": ("shopify", {}, "shpss_1", "shpss_2", shopify),
    "twilio": ("twilio", {}, "12345", "54321", twilio),
    "gitlab": ("gitlab", {}, "a-token", "another", gitlab),
    "gitlab signing": ("gitlab", {}, WHSEC, "whsec_" + base64.b64encode(b"x" * 32).decode(), standard),
    "square": ("square", {}, "sq-key", "sq-other", square),
    "discord": ("discord", {}, PUBLIC_KEY.hex(), bytes(SigningKey(bytes(32)).verify_key).hex(), discord),
    "meta": ("meta", {}, "app secret", "other", github),
    "hmac": ("hmac", GENERIC, "wile-e", "other", generic),
    "token": ("token", {"header": "X-Hook-Secret"}, "s3cret-ö", "other", token),
    "bearer": ("bearer", {}, "t0ken", "other", bearer),
    "basic": ("basic", {}, "user:pass:word", "user:other", basic),
}
SIGNING = [name for name, (preset, *_) in SENDERS.items() if preset not in ("token", "bearer", "basic") and name != "gitlab"]
DATED = ["standard", "asymmetric", "svix", "stripe", "slack", "gitlab signing", "discord", "hmac"]


def _base64(secret: str, message: bytes, algorithm: str = "sha256") -> str:
    return base64.b64encode(hmac.new(secret.encode(), message, algorithm).digest()).decode()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
