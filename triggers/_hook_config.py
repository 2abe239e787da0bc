"""The keys of a webhook in hub.toml. Owns their types, defaults and ranges, and the rules between them.

A configuration that exists can work: secrets are there and have the form of their preset, every override fits its scheme. Secrets are
`SecretStr`: no repr, no error and no dump of a configuration shows them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from triggers._durations import Duration, between
from triggers._schemes import PRESETS, Encoding, Proof, Scheme, check
from triggers._signatures import Verifier, key_of

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_BODY = 26_214_400  # what GitHub's webhooks have at most, the largest of the well-known senders
_SEGMENT = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")  # what needs no escaping in a path, and never "." or ".."
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/(\*|[a-z0-9!#$&^_.+-]+)")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ORIGIN = re.compile(r"\*|[A-Za-z0-9.-]+(:[0-9]+)?")
_SIGNING_KEYS = frozenset(
    {"algorithm", "encoding", "item_separator", "field_separator", "field", "template", "id_header", "secret_prefix", "secret_encoding"}
    | {"timestamp_header", "timestamp_field", "timestamp_unit"}
)
_TABLE = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _lower(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header")
    return name.lower()


def _filled(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().strip():
        raise ValueError("the secret is empty, and an empty secret lets everybody in; set it, or take it out of the list")
    return secret


HeaderName = Annotated[str, AfterValidator(_lower)]
Secret = Annotated[SecretStr, AfterValidator(_filled)]
Preset = Literal[
    "standard-webhooks", "svix", "github", "stripe", "slack", "shopify", "twilio", "gitlab", "square", "discord", "meta",
    "hmac", "ed25519", "token", "bearer", "basic",
]  # fmt: skip
_A_DAY = timedelta(days=1)


class RateConfig(BaseModel):
    """At most `limit` requests a `period`, of which `burst` may come at once."""

    model_config = _TABLE

    limit: int = Field(ge=1, description="Requests in a period.")
    period: Annotated[Duration, between(timedelta(milliseconds=1), _A_DAY)] = Field(
        default=timedelta(seconds=1), description="Over which time the limit holds."
    )
    burst: int | None = Field(default=None, ge=1, description="How many of them may come at once; default all.")


class ReplyConfig(BaseModel):
    """What a sender is told when its event is on disk."""

    model_config = _TABLE

    status: Literal[200, 201, 202, 204] = Field(default=202, description="Status of every accepted request.")
    body: str | None = Field(
        default=None, description="Text with {id}, {workflow}, {status}, {status_url}; default a JSON object with all of them."
    )
    content_type: str = Field(default="text/plain; charset=utf-8", description="Content type of `body`.")
    headers: dict[HeaderName, str] = Field(default_factory=dict, description="Further headers.")

    @model_validator(mode="after")
    def _check(self) -> ReplyConfig:
        if self.status == 204 and self.body is not None:
            raise ValueError("status 204 has no body; leave `body` out, or take status 200")
        for name, value in {"content_type": self.content_type, **self.headers}.items():
            if _CONTROL.search(value):
                raise ValueError(f"{name} has a control character, which no header may have")
        return self


class VerifyConfig(BaseModel):
    """How the sender proves who it is: a preset, its secrets, and what this sender does differently."""

    model_config = _TABLE

    preset: Preset = Field(description="Which sender, or which way of proving.")
    secrets: Annotated[tuple[Secret, ...], BeforeValidator(_as_list)] = Field(
        max_length=10, description="Any of them counts, so that one can be replaced by another; public keys for Ed25519."
    )
    tolerance: Annotated[Duration, between(timedelta(seconds=1), _A_DAY)] = Field(
        default=timedelta(minutes=5), description="How far a signed timestamp may be off, into the past and into the future."
    )
    status: Literal[400, 401] = Field(default=401, description="What a request is answered that proves nothing.")
    url: str | None = Field(
        default=None, description="Address that the sender calls, where it signs that; an origin alone is followed by the request's path."
    )
    challenge_token: Secret | None = Field(default=None, description="The verify token of Meta's subscriptions.")
    header: HeaderName | None = Field(default=None, description="Header of the signature, or of the secret itself.")
    query: str | None = Field(default=None, min_length=1, description="Query parameter of the secret itself.")
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] | None = Field(default=None, description="Hash of the HMAC.")
    encoding: Encoding | None = Field(default=None, description="How the signature is written: hex or base64.")
    item_separator: str | None = Field(default=None, description="Between several signatures in the header.")
    field_separator: str | None = Field(default=None, description="Between the name of a signature and its value.")
    field: str | None = Field(default=None, description="Name of the signatures that count, such as sha256 or v1.")
    template: str | None = Field(default=None, description="What is signed, with {id}, {timestamp}, {body}, {url}.")
    id_header: HeaderName | None = Field(default=None, description="Header of {id}.")
    timestamp_header: HeaderName | None = Field(default=None, description="Header of {timestamp}.")
    timestamp_field: str | None = Field(default=None, description="Name of {timestamp} in the signature's header.")
    timestamp_unit: Literal["s", "ms"] | None = Field(default=None, description="Unit of the timestamp.")
    secret_prefix: str | None = Field(default=None, description="Taken off a secret that has it.")
    secret_encoding: Encoding | None = Field(default=None, description="How the secret is written: text, base64 or hex.")

    @field_validator("secrets")
    @classmethod
    def _check_secrets(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not secrets:
            raise ValueError("there is no secret, so nobody could prove anything; name one")
        return secrets

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, encoding: Encoding | None) -> Encoding | None:
        if encoding is Encoding.TEXT:
            raise ValueError("a signature is written as hex or base64")
        return encoding

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
                raise ValueError(f"{url!r} is not an address such as https://hooks.example.com, without a query")
        return url

    @model_validator(mode="after")
    def _check(self) -> VerifyConfig:
        self.verifier()
        return self

    def schemes(self) -> tuple[Scheme, ...]:
        """Return the preset's rows with what is set here. Raises: ValueError when that does not fit together."""
        own = {key: value for key in _SIGNING_KEYS | {"header", "query"} if (value := getattr(self, key)) is not None}
        rows = tuple(replace(row, **own) for row in PRESETS[self.preset])
        for row in rows:
            foreign = _foreign(row, own)
            if foreign:
                raise ValueError(f'`{foreign}` says nothing in the preset "{self.preset}"; leave it out')
            check(row)
        return rows

    def verifier(self) -> Verifier:
        """Return what checks the requests. Raises: ValueError when a secret has not the form that it must have."""
        schemes = self.schemes()
        keys = []
        for n, secret in enumerate(self.secrets):
            try:
                keys.append(key_of(schemes, secret.get_secret_value()))
            except ValueError as error:
                raise ValueError(f"secrets.{n}: {error}") from None
        return Verifier(keys, tolerance=self.tolerance, url=self.url)


def _foreign(row: Scheme, own: dict[str, Any]) -> str | None:
    """Return a key that cannot mean anything for a scheme."""
    if row.signs:
        foreign = {"query"} | ({"algorithm"} if row.proof is Proof.ED25519 else set())
    else:
        foreign = set(_SIGNING_KEYS) | (set() if row.proof is Proof.TOKEN else {"header", "query"})
    return next(iter(sorted(foreign & own.keys())), None)


Handshake = Literal["slack", "discord", "eventgrid", "meta"]


class HttpConfig(BaseModel):
    """The keys of a `[[triggers]]` table with `kind = "http"`."""

    model_config = _TABLE

    path: str | None = Field(default=None, description="Served under /hooks/PATH, with {name} for a segment; default the trigger's name.")
    methods: tuple[str, ...] = Field(default=("POST",), min_length=1, description="HTTP methods that the webhook accepts.")
    max_body: int = Field(default=1_048_576, ge=1, le=MAX_BODY, description="Largest body in bytes, unpacked too; 25 MiB at most.")
    accept: tuple[str, ...] = Field(default=(), description='Content types that it accepts, such as "image/*"; default any.')
    verify: VerifyConfig | None = Field(default=None, description="How senders prove who they are; default not at all.")
    dedupe_header: HeaderName | None = Field(
        default=None,
        description="Header with the sender's delivery id, or of the signature: then the same bytes are the same delivery; default as the "
        "preset says, or webhook-id, x-github-delivery, idempotency-key.",
    )
    max_requests: RateConfig | None = Field(default=None, description="How many requests are looked at; default all.")
    max_requests_per_remote: RateConfig | None = Field(default=None, description="How many of one sender's address; default all.")
    remote_header: HeaderName | None = Field(
        default=None, description="Header in which your proxy tells the sender's address, of a list the last; default the connection's."
    )
    wait: Annotated[Duration, between(timedelta(seconds=1), timedelta(minutes=10))] | None = Field(
        default=None, description="How long a sender may wait for the output, with `Prefer: wait=N` or ?wait=; default not at all."
    )
    reply: ReplyConfig = Field(default_factory=ReplyConfig, description="What an accepted request is answered.")
    handshakes: tuple[Handshake, ...] | None = Field(
        default=None, description="Setup requests that are answered and start nothing; default those of the preset."
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(), description='Who may announce itself by OPTIONS as CloudEvents senders do; "*" = anybody, default nobody.'
    )

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str | None) -> str | None:
        if path is None:
            return None
        trimmed = path.strip("/")
        names = [segment for segment in trimmed.split("/") if _PARAMETER.fullmatch(segment)]
        if not all(_SEGMENT.fullmatch(segment) or segment in names for segment in trimmed.split("/")):
            raise ValueError(
                f'{path!r} is not a path such as "github" or "shop/{{id}}": letters, digits and ._~- between slashes, or a name'
            )
        if len(set(names)) < len(names):
            raise ValueError(f"{path!r} has a name twice")
        return trimmed

    @field_validator("methods", mode="before")
    @classmethod
    def _check_methods(cls, methods: Any) -> Any:
        if not isinstance(methods, list | tuple) or not all(isinstance(method, str) for method in methods):
            raise ValueError('expected a list of methods such as ["POST"]')
        upper = tuple(dict.fromkeys(method.upper() for method in methods))
        for method in upper:
            if method not in METHODS:
                raise ValueError(f"{method!r} is not one of {', '.join(METHODS)}")
        return upper

    @field_validator("accept")
    @classmethod
    def _check_accept(cls, accept: tuple[str, ...]) -> tuple[str, ...]:
        lower = tuple(kind.lower() for kind in accept)
        for kind in lower:
            if not _MEDIA_TYPE.fullmatch(kind):
                raise ValueError(f'{kind!r} is not a content type such as "application/json" or "image/*"')
        return lower

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f'{origin!r} is not the name of a sender such as "eventgrid.azure.net", nor "*"')
        return tuple(origin.lower() for origin in origins)

    @field_validator("dedupe_header")
    @classmethod
    def _check_dedupe_header(cls, name: str | None, info: ValidationInfo) -> str | None:
        verify = info.data.get("verify")
        if name is not None and verify is not None and any(row.header == name and not row.signs for row in verify.schemes()):
            raise ValueError(f"{name} carries the secret, which is the same in every request; name another header")
        return name

    @model_validator(mode="after")
    def _check(self) -> HttpConfig:
        if self.handshakes is not None and "meta" in self.handshakes and (self.verify is None or self.verify.challenge_token is None):
            raise ValueError("the handshake meta needs verify.challenge_token: the verify token that you gave Meta")
        return self

    @property
    def active_handshakes(self) -> tuple[str, ...]:
        """The setup requests that are answered."""
        if self.handshakes is not None:
            return self.handshakes
        if self.verify is None or self.verify.preset not in ("slack", "discord", "meta"):
            return ()
        return (self.verify.preset,) if self.verify.preset != "meta" or self.verify.challenge_token else ()
