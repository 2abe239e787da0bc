"""What an AMQP message says. Pure: from what arrived to the payload, the key and the metadata of an event.

Knows no broker and no client library. What can never be read is `Rejected`; everything else has a value: JSON, text, or bytes.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hub.core.deliveries import holds_secret
from hub.core.delivery import TriggerEvent
from hub.core.errors import Rejected
from hub.core.outside import parse_json

COUNTS = ("x-delivery-count", "x-acquired-count")  # headers in which a broker counts how often a message has come back
_CHARSET = re.compile(r""";\s*charset=["']?([^\s;"']+)""", re.IGNORECASE)
_CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252", "utf-16"}  # others are not all safe to decode
_NO_ENCODING = {"", "identity", "binary", *_CHARSETS}  # Celery and others write the charset into content-encoding
_GZIP = {"gzip", "x-gzip"}
_CLOUD_EVENT = (
    "cloudEvents:",
    "cloudEvents_",
    "cloudevents:",
    "cloudevents_",
)  # of the CloudEvents AMQP binding; colons are optional there
_TRACE = ("traceparent", "tracestate")
_MAX_KEY_CHARS = 512
_MAX_HEADER_CHARS = 8_192  # of all kept headers together: dead-lettering adds a table a hop
_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """The properties of a message, as the protocol names them; None = the sender left it out."""

    content_type: str | None = None
    content_encoding: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: datetime | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    priority: int | None = None
    delivery_mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message as it came."""

    queue: str
    body: bytes
    properties: Properties = field(default_factory=Properties)
    headers: Mapping[str, Any] = field(default_factory=dict)
    exchange: str = ""
    routing_key: str = ""
    redelivered: bool = False
    consumer_tag: str = ""
    complete: bool = True  # else its properties and headers could not be read, and none are here

    @property
    def returns(self) -> int:
        """How often the broker has had it back, as far as it counts that (quorum queues do)."""
        counts = (self.headers.get(name) for name in COUNTS)
        return max((count for count in counts if isinstance(count, int) and not isinstance(count, bool)), default=0)


def read_event(received: Received, max_bytes: int) -> TriggerEvent:
    """Turn a message into the event that it announces. Raises: Rejected with a code of `payload.…`."""
    return event_of(received, as_json(received, read_body(received, max_bytes)), read_key(received))


def unread_event(received: Received) -> TriggerEvent:
    """Turn a message that cannot be read into an event that can be stored: its bytes are the payload."""
    key = received.properties.message_id
    return event_of(received, as_json(received, received.body), key if key and len(key) <= _MAX_KEY_CHARS else None)


def bare_event(received: Received) -> TriggerEvent:
    """Turn a message into the event that any store can hold: its bytes and nothing beside them."""
    return TriggerEvent(payload=as_json(received, received.body))


def event_of(received: Received, payload: Any, key: str | None) -> TriggerEvent:
    """Return the event with everything that the message says beside its payload."""
    cloud = cloud_event(received.headers)
    subject = cloud.get("subject")
    return TriggerEvent(
        payload=payload,
        key=key,
        subject=subject if isinstance(subject, str) else None,
        headers=dict(_texts(received.headers)),
        metadata=read_metadata(received),
        occurred_at=received.properties.timestamp,
    )


# ---- the key


def read_key(received: Received) -> str | None:
    """Return the sender's id of the message: `message_id`, else source and id of a CloudEvent; None = it gave none. Raises: Rejected."""
    key = received.properties.message_id
    if not key:
        cloud = cloud_event(received.headers)
        key = f"{cloud['source']} {cloud['id']}" if cloud.get("source") and cloud.get("id") else None
    if key is not None and len(key) > _MAX_KEY_CHARS:
        raise Rejected(f"the message's id is longer than {_MAX_KEY_CHARS} characters", code="payload.dedupe_key")
    return key


# ---- the body


def read_body(received: Received, max_bytes: int) -> Any:
    """Return a body by its content type: a JSON value, a text, or bytes for a type that is not known; no body is None. Raises: Rejected.

    Without a content type it is JSON if it can be read as that, else text if it is UTF-8, else bytes.
    """
    body = _expanded(received, max_bytes)
    if not body:
        return None
    content_type = received.properties.content_type or ""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return parse_json(body)
    charset = _CHARSET.search(content_type)
    if kind.startswith("text/"):
        return _text(body, (charset[1] if charset else received.properties.content_encoding or "utf-8").lower())
    return body if kind else _guessed(body)


def as_json(received: Received, body: Any) -> Any:
    """Return a body as a JSON value: bytes become base64 beside their content type."""
    if not isinstance(body, bytes):
        return body
    kind = received.properties.content_type
    return {"content_type": kind if kind is None or kind.isascii() else ascii(kind), "base64": _base64(body)}


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _guessed(body: bytes) -> Any:
    try:
        return parse_json(body)
    except Rejected:
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


def _text(body: bytes, charset: str) -> str:
    charset = charset if charset in _CHARSETS else "utf-8"
    try:
        return body.decode(charset)
    except UnicodeDecodeError as error:
        raise Rejected(f"the text is not {charset}: bad byte at position {error.start}", code="payload.malformed") from None


def _expanded(received: Received, max_bytes: int) -> bytes:
    if not received.complete:
        raise Rejected("its properties or headers cannot be read: their bytes are not what the protocol says", code="payload.properties")
    encoding = (received.properties.content_encoding or "").strip().lower()
    if encoding in _GZIP:
        return _gunzip(received.body, max_bytes)
    if encoding not in _NO_ENCODING:
        raise Rejected(f"the content encoding {encoding[:40]!r} is not supported; send gzip, or none", code="payload.unsupported_encoding")
    if len(received.body) > max_bytes:
        raise _too_large(max_bytes)
    return received.body


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    """Expand one gzip member after the other, never past the limit."""
    expanded = bytearray()
    while body:
        member = zlib.decompressobj(wbits=31)  # 31: the window of 15 bits with a gzip header
        try:
            expanded += member.decompress(body, max_bytes - len(expanded) + 1)
        except zlib.error as error:
            raise Rejected(f"the body is not valid gzip: {error}", code="payload.malformed") from None
        if len(expanded) > max_bytes:
            raise _too_large(max_bytes)
        if not member.eof:
            raise Rejected("the body is not valid gzip: it ends too early", code="payload.malformed")
        body = member.unused_data
    return bytes(expanded)


def _too_large(max_bytes: int) -> Rejected:
    return Rejected(f"the body is larger than {max_bytes} bytes (max_body)", code="payload.too_large")


# ---- beside the body


def read_metadata(received: Received) -> dict[str, Any]:
    """Return all that the message and the broker say beside the body, as JSON. Headers that look like secrets are left out."""
    properties = {each.name: getattr(received.properties, each.name) for each in fields(Properties)}
    found: dict[str, Any] = {
        "queue": received.queue,
        "exchange": received.exchange,
        "routing_key": received.routing_key,
        "consumer_tag": received.consumer_tag,
        "redelivered": received.redelivered,
        "delivery_count": received.returns,
        "properties": {name: plain(value) for name, value in properties.items() if value is not None},
        "headers": _kept(received.headers),
    }
    found |= {name: value for name in _TRACE if isinstance(value := received.headers.get(name), str)}
    if cloud := cloud_event(received.headers):
        found["cloudevent"] = cloud
    return found


def cloud_event(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a CloudEvent in binary mode, without their prefix."""
    return {name[len(_CLOUD_EVENT[0]) :]: plain(value) for name, value in headers.items() if name.startswith(_CLOUD_EVENT)}


def plain(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """Return a field value of the protocol as JSON: bytes as base64, times as ISO text, decimals as text, tables and arrays kept."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)  # noqa: PLR0124  # NaN is not itself
    if isinstance(value, bytes | bytearray):
        return _base64(bytes(value))
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if depth and isinstance(value, Mapping):
        return {str(name): plain(item, depth - 1) for name, item in value.items()}
    if depth and isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]
    return str(value) if isinstance(value, Decimal) else repr(value)[:100]


def _kept(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers as JSON, without secrets and without those told elsewhere, up to a size."""
    kept: dict[str, Any] = {}
    room = _MAX_HEADER_CHARS
    for name, value in headers.items():
        if name in COUNTS or name in _TRACE or name.startswith(_CLOUD_EVENT) or holds_secret(name):
            continue
        written = plain(value)
        room -= len(name) + len(str(written))
        if room < 0:
            break
        kept[name] = written
    return kept


def _texts(headers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Iterate over the headers that are one value, as text with names in lower case, as filters of any kind of trigger see them."""
    for name, value in _kept(headers).items():
        if isinstance(value, str | int | float):
            yield name.lower(), value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
