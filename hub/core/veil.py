"""What a caller sees who may read, but no payloads: each value with a mark where a payload is. Pure.

A payload is whatever came from outside or from the author's code: parameters, outputs, events, the headers and metadata of their source,
keys that were made of them, and the texts of errors, which quote them. Names, statuses, times, codes and the names of errors stay. The
invariant: where something is hidden, the mark stands; nothing is left out, so that "hidden" and "not there" cannot be confused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hub.core import codec
from hub.core.deliveries import encode_provenance, provenance_of
from hub.core.delivery import Delivery, TriggerView
from hub.core.errors import ErrorInfo
from hub.core.model import Attempt, Entry, InboxEvent, Instance, Rollback, Snapshot
from hub.core.stream import InstanceEvent

HIDDEN = "[HIDDEN: needs the scope payloads]"
_ENCODED = codec.encode(HIDDEN)
_PAYLOAD_FIELDS = frozenset({"params", "output", "error"})  # of events


def veil_snapshot(snapshot: Snapshot) -> Snapshot:
    """Hide what an instance, its steps and its inbox hold."""
    return Snapshot(
        instance=veil_instance(snapshot.instance),
        entries=tuple(_entry(entry) for entry in snapshot.entries),
        attempts=tuple(_attempt(attempt) for attempt in snapshot.attempts),
        inbox=tuple(_inbox(event) for event in snapshot.inbox),
    )


def veil_instance(instance: Instance) -> Instance:
    """Hide what an instance got and gives, and what its source said."""
    return replace(
        instance,
        params=_ENCODED,
        output=_bytes(instance.output),
        error=_error(instance.error),
        rollback=_rollback(instance.rollback),
        provenance=_provenance(instance),
    )


def veil_event(event: InstanceEvent) -> InstanceEvent:
    """Hide the payloads of an event of a stream."""
    return replace(event, fields={name: _field(name, value) for name, value in event.fields.items()})


def veil_delivery(delivery: Delivery) -> Delivery:
    """Hide what was received, and the sentence that says what is wrong with it."""
    return replace(
        delivery,
        event=_ENCODED,
        key=None if delivery.key is None else HIDDEN,
        message=HIDDEN if delivery.message else "",
    )


def veil_trigger(view: TriggerView) -> TriggerView:
    """Hide the payload that a schedule gives to its instances."""
    if "payload" not in view.settings:
        return view
    return replace(view, settings={**view.settings, "payload": HIDDEN})


def _bytes(value: bytes | None) -> bytes | None:
    return None if value is None else _ENCODED


def _error(error: ErrorInfo | None) -> ErrorInfo | None:
    if error is None:
        return None
    return ErrorInfo(name=error.name, message=HIDDEN, stack=None if error.stack is None else HIDDEN)


def _rollback(rollback: Rollback | None) -> Rollback | None:
    return None if rollback is None else replace(rollback, error=_error(rollback.error))


def _provenance(instance: Instance) -> bytes | None:
    origin = provenance_of(instance)
    if origin is None or instance.provenance is None:
        return instance.provenance
    hidden = replace(
        origin,
        key=None if origin.key is None else HIDDEN,
        subject=None if origin.subject is None else HIDDEN,
        headers=dict.fromkeys(origin.headers, HIDDEN),
        metadata=dict.fromkeys(origin.metadata, HIDDEN),
    )
    return encode_provenance(hidden)


def _entry(entry: Entry) -> Entry:
    return replace(entry, output=_bytes(entry.output), error=_error(entry.error))


def _attempt(attempt: Attempt) -> Attempt:
    error = attempt.error
    return replace(attempt, error=ErrorInfo(name=error.name, message=HIDDEN, stack=None if error.stack is None else HIDDEN))


def _inbox(event: InboxEvent) -> InboxEvent:
    return replace(event, payload=_ENCODED)


def _field(name: str, value: Any) -> Any:
    if name not in _PAYLOAD_FIELDS or value is None:
        return value
    return {**value, "message": HIDDEN} if name == "error" and isinstance(value, dict) else HIDDEN
