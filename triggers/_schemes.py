"""How senders of webhooks prove who they are, as data: one record form, and the presets of known senders as rows in it.

No code for a single provider. Whatever a scheme signs must cover the body, and its timestamp where it has one: `check` refuses rows that do
not, so that neither a preset nor a setting can make a signature that protects nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum


class Proof(StrEnum):
    """What a sender shows."""

    HMAC = "hmac"  # a signature made with the shared secret
    ED25519 = "ed25519"  # a signature whose public key is the configured secret
    TOKEN = "token"  # the secret itself  # noqa: S105
    BEARER = "bearer"  # the secret itself as `Authorization: Bearer …`
    BASIC = "basic"  # `user:password` as `Authorization: Basic …`


class Encoding(StrEnum):
    """How bytes are written as text."""

    HEX = "hex"
    BASE64 = "base64"
    TEXT = "text"  # a secret whose characters are its bytes


ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")
SIGNED = ("id", "timestamp", "body", "url", "form")  # what a template may name
_NAME = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One way of proving. Header names are in lower case; an empty text means that the scheme has no such part.

    The template names what is signed: {id} and {timestamp} as they were sent, {body} the exact bytes, {url} the whole public address with
    its query, {form} the sorted names and values of a form. Header items are split at `item_separator`, and each into a name and a value at
    `field_separator`; only the items named `field` are signatures.
    """

    proof: Proof
    header: str = ""  # of the signature, or of the secret itself
    query: str = ""  # the query parameter of the secret, where the sender can set no header
    algorithm: str = "sha256"
    encoding: Encoding = Encoding.HEX  # of the signature
    item_separator: str = ""
    field_separator: str = ""
    field: str = ""
    template: str = "{body}"
    id_header: str = ""
    timestamp_header: str = ""
    timestamp_field: str = ""  # the item of the signature's header that is the timestamp
    timestamp_unit: str = "s"  # or ms
    secret_prefix: str = ""  # taken off a secret that has it
    secret_encoding: Encoding = Encoding.TEXT
    prefixed_only: bool = False  # a secret without the prefix belongs to another scheme of the preset
    digest_query: str = ""  # the query parameter with the SHA-256 of a body that is not a form
    ids: tuple[str, ...] = ()  # where the id of the delivery stands, the first one counts: "header NAME" or "body FIELD"
    ids_by_digest: bool = False  # else its id is the signature's SHA-256

    @property
    def signed(self) -> tuple[str, ...]:
        """The names in the template."""
        return tuple(_NAME.findall(self.template))

    @property
    def signs(self) -> bool:
        """Whether the proof is a signature, not the secret itself."""
        return self.proof in (Proof.HMAC, Proof.ED25519)


def check(scheme: Scheme) -> None:
    """Refuse a scheme that cannot work, or that would leave the body or the timestamp unprotected. Raises: ValueError, naming the key."""
    if scheme.proof is Proof.TOKEN and bool(scheme.header) == bool(scheme.query):
        raise ValueError("name either the `header` or the `query` parameter that carries the secret")
    if not scheme.signs:
        return
    if not scheme.header:
        raise ValueError("name the `header` that carries the signature")
    if scheme.algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm {scheme.algorithm!r} is not one of {', '.join(ALGORITHMS)}")
    if unknown := [name for name in scheme.signed if name not in SIGNED]:
        raise ValueError(f"template {scheme.template!r} has {{{unknown[0]}}}; it may have {', '.join(f'{{{name}}}' for name in SIGNED)}")
    if "body" not in scheme.signed and not ("form" in scheme.signed and scheme.digest_query):
        raise ValueError(f"template {scheme.template!r} leaves the {{body}} unsigned")
    if "id" in scheme.signed and not scheme.id_header:
        raise ValueError(f"template {scheme.template!r} has {{id}}: name its header in `id_header`")
    dated = bool(scheme.timestamp_header or scheme.timestamp_field)
    if dated != ("timestamp" in scheme.signed):
        which = "has {timestamp}: name where it stands in" if not dated else "leaves the {timestamp} unsigned; put it in, or leave out"
        raise ValueError(f"template {scheme.template!r} {which} `timestamp_header` or `timestamp_field`")
    if bool(scheme.field) != bool(scheme.field_separator):
        raise ValueError("`field` and `field_separator` belong together: the name of a signature in the header, and what follows it")
    if scheme.timestamp_field and not scheme.field_separator:
        raise ValueError("`timestamp_field` needs a `field_separator`: what stands between a name and its value in the header")


# ---- the presets


_STANDARD = Scheme(
    proof=Proof.HMAC,
    header="webhook-signature",
    encoding=Encoding.BASE64,
    item_separator=" ",
    field_separator=",",
    field="v1",
    template="{id}.{timestamp}.{body}",
    id_header="webhook-id",
    timestamp_header="webhook-timestamp",
    secret_prefix="whsec_",  # noqa: S106
    secret_encoding=Encoding.BASE64,
    ids=("header webhook-id",),
)


def _standard(prefix: str) -> tuple[Scheme, ...]:
    """Return the rows of the Standard Webhooks specification for one family of headers: the asymmetric one takes its own secrets only."""
    symmetric = replace(
        _STANDARD,
        header=f"{prefix}-signature",
        id_header=f"{prefix}-id",
        timestamp_header=f"{prefix}-timestamp",
        ids=(f"header {prefix}-id",),
    )
    return (replace(symmetric, proof=Proof.ED25519, field="v1a", secret_prefix="whpk_", prefixed_only=True), symmetric)  # noqa: S106


_HUB_SIGNATURE = Scheme(proof=Proof.HMAC, header="x-hub-signature-256", field_separator="=", field="sha256")

PRESETS: dict[str, tuple[Scheme, ...]] = {
    "standard-webhooks": _standard("webhook"),
    "svix": _standard("svix"),
    "github": (replace(_HUB_SIGNATURE, ids=("header x-github-delivery",)),),
    "stripe": (
        Scheme(
            proof=Proof.HMAC,
            header="stripe-signature",
            item_separator=",",
            field_separator="=",
            field="v1",
            template="{timestamp}.{body}",
            timestamp_field="t",
            ids=("body id",),
        ),
    ),
    "slack": (
        Scheme(
            proof=Proof.HMAC,
            header="x-slack-signature",
            field_separator="=",
            field="v0",
            template="v0:{timestamp}:{body}",
            timestamp_header="x-slack-request-timestamp",
            ids=("body event_id", "body trigger_id"),
            ids_by_digest=True,  # commands and buttons have no id of their own
        ),
    ),
    "shopify": (Scheme(proof=Proof.HMAC, header="x-shopify-hmac-sha256", encoding=Encoding.BASE64, ids=("header x-shopify-webhook-id",)),),
    "twilio": (
        Scheme(
            proof=Proof.HMAC,
            header="x-twilio-signature",
            algorithm="sha1",
            encoding=Encoding.BASE64,
            template="{url}{form}",
            digest_query="bodySHA256",
            ids=("header i-twilio-idempotency-token",),
            ids_by_digest=True,  # MessageSid stays the same while a message changes its status
        ),
    ),
    "gitlab": (
        replace(_STANDARD, prefixed_only=True),
        Scheme(proof=Proof.TOKEN, header="x-gitlab-token", ids=("header idempotency-key",)),
    ),
    "square": (
        Scheme(
            proof=Proof.HMAC,
            header="x-square-hmacsha256-signature",
            encoding=Encoding.BASE64,
            template="{url}{body}",
            ids=("body event_id",),
        ),
    ),
    "discord": (
        Scheme(
            proof=Proof.ED25519,
            header="x-signature-ed25519",
            template="{timestamp}{body}",
            timestamp_header="x-signature-timestamp",
            secret_encoding=Encoding.HEX,
            ids=("body id",),
        ),
    ),
    "meta": (replace(_HUB_SIGNATURE, ids_by_digest=True),),
    "hmac": (Scheme(proof=Proof.HMAC),),
    "ed25519": (Scheme(proof=Proof.ED25519, secret_encoding=Encoding.HEX),),
    "token": (Scheme(proof=Proof.TOKEN),),
    "bearer": (Scheme(proof=Proof.BEARER, header="authorization"),),
    "basic": (Scheme(proof=Proof.BASIC, header="authorization"),),
}
