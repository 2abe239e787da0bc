"""CloudEvents 1.0 over HTTP: binary, structured and batched, as events of the hub.

Owns the words of that specification and nothing of the webhook around it. The payload of an event is its data; its other attributes stand
in the metadata under `cloudevent`. Invariant: two events have the same key exactly when both `source` and `id` are the same.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from hub.core.errors import PayloadTooLarge, Rejected
from hub.core.outside import parse_json
from triggers._bodies import media_type, read_payload

_STRUCTURED = "application/cloudevents"
_BATCH = "application/cloudevents-batch"
_VERSION = "1.0"
_REQUIRED = ("id", "source", "type")
_MAX_BATCH = 1000  # each becomes an instance; a sender with more sends several batches
_MAX_KEY_CHARS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """One event. `attributes` are all of them, texts for the most part; extensions too."""

    attributes: Mapping[str, Any]
    data: Any

    @property
    def key(self) -> str:
        """What makes the event one and the same."""
        source, id = self.attributes["source"], self.attributes["id"]
        readable = f"{source} {id}"
        return readable if len(readable) <= _MAX_KEY_CHARS else hashlib.sha256(f"{len(source)} {readable}".encode()).hexdigest()

    @property
    def subject(self) -> str | None:
        """What the event is about."""
        return self.attributes.get("subject")

    @property
    def occurred_at(self) -> datetime | None:
        """When it happened."""
        return _moment(self.attributes["time"]) if "time" in self.attributes else None


def read_events(headers: Mapping[str, str], body: bytes) -> list[CloudEvent] | CloudEvent | None:
    """Return the event in a request, a list for a batch, None when it is no CloudEvent.

    Raises: Rejected with code `payload.cloudevent`, naming the place; of a batch nothing is taken then.
    """
    content_type = headers.get("content-type", "")
    kind = media_type(content_type)
    if kind.startswith(_BATCH):
        _check_json(kind, _BATCH)
        return _batch(parse_json(body))
    if kind.startswith(_STRUCTURED):
        _check_json(kind, _STRUCTURED)
        return _structured(parse_json(body), "the event")
    if "ce-specversion" in headers:
        attributes = {name[3:]: _decoded(value) for name, value in headers.items() if name.startswith("ce-") and name != "ce-"}
        if content_type:
            attributes["datacontenttype"] = content_type.encode("utf-8", "replace").decode()  # what is not UTF-8 came as half characters
        payload = read_payload(content_type or "application/json", body)  # what an event without a content type has
        return CloudEvent(attributes=_checked(attributes, "the headers ce-…"), data=payload)
    return None


def _batch(value: Any) -> list[CloudEvent]:
    if not isinstance(value, list):
        raise _malformed("a batch is a JSON list of events")
    if len(value) > _MAX_BATCH:
        raise PayloadTooLarge(f"a batch has at most {_MAX_BATCH:,} events, this one has {len(value):,}")
    return [_structured(item, f"event {number} of the batch") for number, item in enumerate(value)]


def _structured(value: Any, what: str) -> CloudEvent:
    if not isinstance(value, dict):
        raise _malformed(f"{what} is not a JSON object")
    attributes = {name: part for name, part in value.items() if name not in ("data", "data_base64") and part is not None}
    return CloudEvent(attributes=_checked(attributes, what), data=_data(value, attributes, what))


def _data(value: dict[str, Any], attributes: Mapping[str, Any], what: str) -> Any:
    if value.get("data_base64") is None:
        return value.get("data")
    if value.get("data") is not None:
        raise _malformed(f"{what} has both data and data_base64")
    try:
        raw = binascii.a2b_base64(value["data_base64"], strict_mode=True)
    except (TypeError, ValueError):
        raise _malformed(f"data_base64 of {what} is not base64") from None
    return read_payload(attributes.get("datacontenttype", "application/octet-stream"), raw)


def _checked(attributes: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the attributes of an event that has what every event must have. Raises: Rejected."""
    version = attributes.get("specversion")
    if version != _VERSION:
        shown = "no specversion" if version is None else f"specversion {str(version)[:20]!r}"
        raise _malformed(f"{what} has {shown}; this webhook reads {_VERSION}")
    for name in _REQUIRED:
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            raise _malformed(f"{what} has no {name}, which must be a text that is not empty")
    for name, value in attributes.items():
        if not isinstance(value, str | int | bool):
            raise _malformed(f"{name} of {what} is not a text, a whole number or a truth value")
    for name in ("subject", "datacontenttype", "time"):
        if not isinstance(attributes.get(name, ""), str):
            raise _malformed(f"{name} of {what} is not a text")
    if "time" in attributes and _moment(attributes["time"]) is None:
        raise _malformed(f"time of {what} is not a moment such as 2026-03-01T12:00:00Z")
    return attributes


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.astimezone(UTC)


def _decoded(value: str) -> str:
    """Undo the percent-encoding of a header's value (HTTP binding, section 3.1.3.2)."""
    try:
        return unquote_to_bytes(value.strip().removeprefix('"').removesuffix('"')).decode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise _malformed("a header ce-… is not UTF-8") from None


def _check_json(kind: str, family: str) -> None:
    if kind != f"{family}+json":
        raise Rejected(f"of CloudEvents in the body only {family}+json is read, not {kind[:100]!r}", code="payload.unsupported_type")


def _malformed(problem: str) -> Rejected:
    return Rejected(f"this is no CloudEvent that can be read: {problem}", code="payload.cloudevent")
