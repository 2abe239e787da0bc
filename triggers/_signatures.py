"""Whether a request comes from who it says. Owns the secrets of one webhook and the comparison; what is compared is data of `_schemes`.

Works on the exact bytes that were sent, never on a parsed and written form. Every comparison takes the same time whatever is right in it,
every signature is tried with every secret, and what is missing or unreadable is refused. No secret leaves this module: not in a repr, not
in an error, not in a log.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from hub.core.model import HttpRequest
from triggers._schemes import Encoding, Proof, Scheme

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORM = "application/x-www-form-urlencoded"
_PORTS = {"http": "80", "https": "443"}
_DIGITS = re.compile(r"[0-9]{1,15}", re.ASCII)
_PART = re.compile(r"\{([a-z]+)\}")
_MAX_SIGNATURES = 20  # in one header; a sender has two or three during a rotation, and each costs a comparison


class Refused(Exception):
    """The request proves nothing. The message is for the log of the hub alone; no sender may learn it."""


@dataclass(frozen=True, slots=True)
class Key:
    """One secret, ready to compare with."""

    secret: bytes = field(default=b"", repr=False)
    public: Ed25519PublicKey | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Proven:
    """What a request has proven: its scheme, and of one that signs the signature's own bytes, however it was written."""

    scheme: Scheme
    signature: bytes = b""

    @property
    def digest(self) -> str:
        """An id of what was signed: the same for the same bytes under the same secret, and nobody else can make another one for them."""
        return hashlib.sha256(self.signature).hexdigest()


class Verifier:
    """Checks the requests of one webhook."""

    def __init__(self, keys: Sequence[tuple[Scheme, Key]], *, tolerance: timedelta, url: str | None = None) -> None:
        self._keys: dict[Scheme, list[Key]] = {}
        for scheme, key in keys:
            self._keys.setdefault(scheme, []).append(key)
        self._tolerance = tolerance
        self._url = url

    @property
    def headers(self) -> frozenset[str]:
        """The headers that carry proofs; nobody needs to keep them."""
        return frozenset(scheme.header for scheme in self._keys if scheme.header)

    @property
    def queries(self) -> frozenset[str]:
        """The query parameters that carry secrets."""
        return frozenset(scheme.query for scheme in self._keys if scheme.query)

    def check(self, request: HttpRequest, now: datetime) -> Proven:
        """Return what a request proves of its origin. Raises: Refused."""
        reasons = []
        for scheme, keys in self._keys.items():
            try:
                if scheme.signs:
                    return Proven(scheme, self._check_signature(scheme, keys, request, now))
                _check_secret(scheme, keys, request)
                return Proven(scheme)
            except Refused as refused:
                reasons.append(str(refused))
        raise Refused("; ".join(reasons))

    def _check_signature(self, scheme: Scheme, keys: Sequence[Key], request: HttpRequest, now: datetime) -> bytes:
        """Return the signature that fits. Raises: Refused."""
        header = request.headers.get(scheme.header)
        if not header:
            raise Refused(f"the header {scheme.header} is missing")
        items = _items(scheme, header)
        timestamp = request.headers.get(scheme.timestamp_header, "") if scheme.timestamp_header else items.first(scheme.timestamp_field)
        if "timestamp" in scheme.signed:
            self._check_age(scheme, timestamp, now)
        signatures = [signature for signature in (_decoded(scheme.encoding, text) for text in items.named(scheme.field)) if signature]
        if not signatures:
            raise Refused(f"the header {scheme.header} has no signature that can be read")
        parts = {"id": request.headers.get(scheme.id_header, ""), "timestamp": timestamp}
        if "id" in scheme.signed and not parts["id"]:
            raise Refused(f"the header {scheme.id_header} is missing")
        if scheme.digest_query:
            parts["form"] = _form_or_digest(scheme, request)
        addresses = _addresses(self._url, request) if "url" in scheme.signed else ("",)
        for address in addresses:
            message = _message(scheme.template, parts | {"url": address}, request.body)
            if fitting := _fitting(scheme, keys, message, signatures):
                return fitting
        address = addresses[0].partition("?")[0]
        hint = f", signed over {address!r}: is that how the sender calls it? (`verify.url`)" if address else ""
        raise Refused(f"no secret fits a signature in {scheme.header}{hint}")

    def _check_age(self, scheme: Scheme, timestamp: str, now: datetime) -> None:
        if not _DIGITS.fullmatch(timestamp):
            raise Refused("the timestamp is missing or no number")
        seconds = int(timestamp) / (1000 if scheme.timestamp_unit == "ms" else 1)
        age_s = now.timestamp() - seconds
        if abs(age_s) > self._tolerance.total_seconds():
            raise Refused(f"the timestamp is {abs(age_s):.0f} seconds {'old' if age_s > 0 else 'ahead'}; is the clock right?")


# ---- secrets


def key_of(schemes: Sequence[Scheme], secret: str) -> tuple[Scheme, Key]:
    """Return the first scheme that a secret is made for, and the secret in its form. Raises: ValueError, which does not show the secret."""
    scheme = next((s for s in schemes if not s.prefixed_only or secret.startswith(s.secret_prefix)), None)
    if scheme is None:
        raise ValueError(f"a secret for this preset begins with {' or '.join(s.secret_prefix for s in schemes)}")
    text = secret.removeprefix(scheme.secret_prefix)
    if scheme.proof is Proof.BASIC and not all(text.partition(":")):
        raise ValueError("a secret for basic authentication is user:password")
    raw = text.encode() if scheme.secret_encoding is Encoding.TEXT else _decoded(scheme.secret_encoding, text)
    if not raw:
        raise ValueError(f"the secret is not {scheme.secret_encoding.value} as this preset's secrets are")
    if scheme.proof is not Proof.ED25519:
        return scheme, Key(secret=raw)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return scheme, Key(public=Ed25519PublicKey.from_public_bytes(raw))
    except ValueError:
        raise ValueError("an Ed25519 public key has 32 bytes; this is none") from None


# ---- proofs


def _check_secret(scheme: Scheme, keys: Sequence[Key], request: HttpRequest) -> None:
    shown = request.query.get(scheme.query) if scheme.query else request.headers.get(scheme.header)
    where = f"query parameter {scheme.query}" if scheme.query else f"header {scheme.header}"
    if not shown:
        raise Refused(f"the {where} is missing")
    raw = _bytes(shown)
    if scheme.proof in (Proof.BEARER, Proof.BASIC):
        word, _, rest = shown.partition(" ")
        if word.lower() != scheme.proof.value:
            raise Refused(f"the {where} does not say {scheme.proof.value}")
        raw = _bytes(rest.strip()) if scheme.proof is Proof.BEARER else _decoded(Encoding.BASE64, rest.strip())
    fits = [hmac.compare_digest(raw, key.secret) for key in keys]
    if not any(fits):
        raise Refused(f"no secret is that of the {where}")


def _fitting(scheme: Scheme, keys: Sequence[Key], message: bytes, signatures: Sequence[bytes]) -> bytes:
    """Return the signature of a message that one of the keys has made; nothing when there is none. Tries all: the time tells nothing."""
    if scheme.proof is Proof.ED25519:
        fits = [signature for key in keys for signature in signatures if _signed_by(key, signature, message)]
    else:
        made = [hmac.digest(key.secret, message, scheme.algorithm) for key in keys]
        fits = [own for own in made for signature in signatures if hmac.compare_digest(own, signature)]
    return fits[0] if fits else b""


def _signed_by(key: Key, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        if key.public is not None:
            key.public.verify(signature, message)
            return True
    except InvalidSignature:
        pass
    return False


def _message(template: str, parts: Mapping[str, str], body: bytes) -> bytes:
    """Put together what was signed: the bytes that stood on the wire."""
    written = []
    for n, piece in enumerate(_PART.split(template)):
        written.append(piece.encode() if n % 2 == 0 else body if piece == "body" else _bytes(parts.get(piece, "")))
    return b"".join(written)


class _Items:
    """The names and values in a signature's header."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    def named(self, name: str) -> list[str]:
        return [value for each, value in self._pairs if each == name][:_MAX_SIGNATURES]

    def first(self, name: str) -> str:
        return next(iter(self.named(name)), "")


def _items(scheme: Scheme, header: str) -> _Items:
    pairs = []
    for item in header.split(scheme.item_separator) if scheme.item_separator else [header]:
        name, separator, value = item.strip().partition(scheme.field_separator) if scheme.field_separator else ("", "", item.strip())
        pairs.append((name, value) if separator or not scheme.field_separator else (name, ""))
    return _Items(pairs)


def _decoded(encoding: Encoding, text: str) -> bytes:
    """Return the bytes that a text stands for; nothing when it stands for none."""
    try:
        if encoding is Encoding.HEX:
            return bytes.fromhex(text) if text.isalnum() else b""
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # as the server reads what is not UTF-8


# ---- addresses and forms


def _addresses(url: str | None, request: HttpRequest) -> tuple[str, str]:
    """Return the whole address that the sender may have signed: as it stands, and with or without the port that its scheme implies."""
    try:
        known = urlsplit(url or request.url)
    except ValueError:
        raise Refused("the address of the request cannot be read") from None
    path, _, query = request.target.partition("?")
    if url and known.path not in ("", "/"):
        path = known.path
    rest = path + (f"?{query}" if query else "")
    bare, colon, port = known.netloc.rpartition(":")
    other = bare if colon and port.isdecimal() else f"{known.netloc}:{_PORTS.get(known.scheme, '')}"
    return f"{known.scheme}://{known.netloc}{rest}", f"{known.scheme}://{other}{rest}"


def _form_or_digest(scheme: Scheme, request: HttpRequest) -> str:
    """Return the text of a form for the signature; of any other body prove by its digest in the query that it is the one meant."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM:
        try:
            pairs = set(parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict"))
        except ValueError:
            raise Refused("the form cannot be read") from None
        return "".join(name + value for name, value in sorted(pairs))
    shown = parse_qs(request.target.partition("?")[2]).get(scheme.digest_query)
    if shown is None:
        if request.body:
            raise Refused(f"neither a form nor the query parameter {scheme.digest_query} covers the body")
    elif not hmac.compare_digest(_bytes(shown[0].lower()), hashlib.sha256(request.body).hexdigest().encode()):
        raise Refused(f"the body is not the one of the query parameter {scheme.digest_query}")
    return ""


# ---- the id of a delivery


def delivery_id(proven: Proven, request: HttpRequest, payload: Any) -> str | None:
    """Return the sender's own id of a delivery, where the scheme says that there is one."""
    for source in proven.scheme.ids:
        place, _, name = source.partition(" ")
        found = request.headers.get(name, "").strip() if place == "header" else payload.get(name) if isinstance(payload, dict) else None
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
            return str(found)
    return proven.digest if proven.scheme.ids_by_digest else None
