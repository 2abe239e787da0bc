"""Events of triggers as bytes: what a stored delivery keeps of one, and what an instance keeps of where it comes from.

Both are JSON of `codec`, made of plain fields, so that clients can be shown them. Secrets never get in: a header whose name says that it
holds one is left out here, whatever a trigger hands over. Invariant: `decode_event(encode_event(event))` is the event again, apart from
those headers and its cursor, which belongs to the moment at which it was received.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from hub.core import codec
from hub.core.delivery import Provenance, TriggerEvent
from hub.core.flow import Overlap
from hub.core.model import Instance, Schedule, Source

MAX_HEADER_BYTES = 4096  # of all headers that an instance keeps
MAX_METADATA_BYTES = 16_384
LEFT_OUT = "left_out"  # in the metadata of an instance: the names of what was too large to be kept

_SECRET = re.compile(
    r"auth(?!or)|authori[sz]|cookie|session|token|jwt|secret|password|passwd|passphrase|credential|signature|hmac"
    r"|(api|auth|access|private|subscription)[-_]?key",
    re.IGNORECASE,
)
_SHOWN_CHARS = 1000  # of a value that cannot be stored
_SHOWN_NAMES = 50
_TAG = f'"{codec.TAG}"'.encode()  # which a plain value must not hold


@lru_cache(maxsize=1024)  # the same few names come with every event
@lru_cache(maxsize=512)  # names come again and again
def holds_secret(name: str) -> bool:
    """Whether the name of a header or a query parameter says that its value must not be stored."""
    return _SECRET.search(name) is not None


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that may be stored."""
    return {name: value for name, value in headers.items() if not holds_secret(name)}


# ---- stored deliveries


def encode_event(event: TriggerEvent) -> bytes:
    """Return an event as a stored delivery keeps it. What can never be stored is described in its place."""
    schedule = event.schedule
    form = {
        "payload": event.payload,
        "key": event.key,
        "subject": event.subject,
        "headers": without_secrets(event.headers),
        "metadata": dict(event.metadata),
        "occurred_at": _text(event.occurred_at),
        "workflow": event.workflow,
        "instance_id": event.instance_id,
        "schedule": None if schedule is None else {"cron": schedule.cron, "scheduled_at": _text(schedule.scheduled_at)},
        "source": event.source.value,
        "overlap": None if event.overlap is None else event.overlap.value,
    }
    kept = {name: value for name, value in form.items() if name == "payload" or (value is not None and value != {})}
    try:
        return codec.encode(kept)
    except (TypeError, ValueError):
        broken = {name: ascii(value)[:_SHOWN_CHARS] for name, value in kept.items() if not _storable(value)}
        return codec.encode({**{name: value for name, value in kept.items() if name not in broken}, "unstorable": broken})


def decode_event(data: bytes) -> TriggerEvent:
    """Return the event that a stored delivery keeps. Raises: ValueError when it could not be kept whole."""
    form = codec.decode(data)
    if not isinstance(form, dict) or "payload" not in form:
        raise ValueError("the event could not be stored whole, so it cannot be emitted again")
    schedule, overlap = form.get("schedule"), form.get("overlap")
    return TriggerEvent(
        payload=form["payload"],
        key=form.get("key"),
        subject=form.get("subject"),
        headers=form.get("headers", {}),
        metadata=form.get("metadata", {}),
        occurred_at=_moment(form.get("occurred_at")),
        workflow=form.get("workflow"),
        instance_id=form.get("instance_id"),
        schedule=None
        if schedule is None
        else Schedule(cron=schedule["cron"], scheduled_at=datetime.fromisoformat(schedule["scheduled_at"])),
        source=Source(form.get("source", Source.EVENT.value)),
        overlap=None if overlap is None else Overlap(overlap),
    )


def _storable(value: Any) -> bool:
    try:
        codec.encode(value)
    except (TypeError, ValueError):
        return False
    return True


# ---- provenance


def encode_provenance(origin: Provenance) -> bytes | None:
    """Return what an instance keeps of where it comes from; None = nothing beside the name of the trigger, which has a column.

    Headers and metadata beyond their limits are left out, the last ones first; the metadata then says which, under `left_out`.
    """
    kept = _kept(origin, without_secrets(origin.headers), origin.metadata)
    if not kept:
        return None
    try:
        data = codec.dump_plain(kept)  # JSON as it is, and several times faster than looking at every value of it
        if _TAG in data:
            data = codec.encode(kept)
    except (TypeError, ValueError):
        data = b""
    if 0 < len(data) <= MAX_HEADER_BYTES:  # neither of the two can be too large
        return data
    headers, _ = _fitting(without_secrets(origin.headers), MAX_HEADER_BYTES)
    metadata, left_out = _fitting(origin.metadata, MAX_METADATA_BYTES)
    return codec.encode(_kept(origin, headers, {**metadata, LEFT_OUT: left_out[:_SHOWN_NAMES]} if left_out else metadata))


def provenance_of(instance: Instance) -> Provenance | None:
    """Return where an instance comes from; None when no trigger has created it."""
    if instance.trigger is None:
        return None
    form = {} if instance.provenance is None else codec.decode(instance.provenance)
    return Provenance(
        name=instance.trigger,
        key=form.get("key"),
        subject=form.get("subject"),
        headers=form.get("headers", {}),
        metadata=form.get("metadata", {}),
        occurred_at=_moment(form.get("occurred_at")),
        delivery=form.get("delivery"),
    )


def _kept(origin: Provenance, headers: Mapping[str, str], metadata: Mapping[str, Any]) -> dict[str, Any]:
    form: dict[str, Any] = {}  # one by one: this is on the path of every event
    if origin.key is not None:
        form["key"] = origin.key
    if origin.subject is not None:
        form["subject"] = origin.subject
    if headers:
        form["headers"] = headers
    if metadata:
        form["metadata"] = dict(metadata)
    if origin.occurred_at is not None:
        form["occurred_at"] = origin.occurred_at.isoformat()
    if origin.delivery is not None:
        form["delivery"] = origin.delivery
    return form


def _fitting(values: Mapping[str, Any], room: int) -> tuple[dict[str, Any], list[str]]:
    """Return the values that fit and can be stored, and the names of the others."""
    fitting: dict[str, Any] = {}
    left_out: list[str] = []
    for name, value in values.items():
        try:
            size = len(codec.encode({name: value}))
        except (TypeError, ValueError):
            size = room + 1
        if size <= room:
            fitting[name] = value
            room -= size
        else:
            left_out.append(name[:100])
    return fitting, left_out


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
