"""What people hang on an instance to find it again: tags, and metadata by key.

Owns their limits and their form, in which a filter looks for them. Labels never change after the creation of their instance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hub.core.errors import Rejected

MAX_TAGS = MAX_KEYS = 16
NAME_CHARS = 64  # of a tag, and of a key of the metadata
VALUE_CHARS = 256
TAG = ""  # the name under which tags are filed; no key of the metadata is empty

Value = str | int | float | bool
_CODE = "instance.invalid_labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels of an instance, already checked. As a filter: what an instance must carry, all of it."""

    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)

    def filed(self) -> Iterator[tuple[str, str]]:
        """Yield each label as it is looked for: its name (a tag has none) and its text."""
        for tag in self.tags:
            yield TAG, tag
        for key, value in self.metadata.items():
            yield key, text_of(value)


NO_LABELS = Labels()


def read_labels(tags: Any, metadata: Any) -> Labels:
    """Check what somebody gives as tags (a list of texts) and metadata (an object); None = none. Raises: Rejected."""
    if not tags and not metadata and isinstance(tags, list | tuple | None) and isinstance(metadata, Mapping | None):
        return NO_LABELS
    return Labels(tags=_tags(() if tags is None else tags), metadata=_metadata({} if metadata is None else metadata))


def text_of(value: Value) -> str:
    """Return the text under which a value is looked for: a number like a text that says the same, 1.0 like 1, true as `true`."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


def encode_labels(labels: Labels) -> str | None:
    """Return labels as the head of an instance keeps them; None = there are none."""
    if labels is NO_LABELS:
        return None
    return json.dumps({"tags": labels.tags, "metadata": dict(labels.metadata)}, ensure_ascii=False)


def labels_of(stored: str | None) -> Labels:
    """Return kept labels."""
    if stored is None:
        return NO_LABELS
    form = json.loads(stored)
    return Labels(tags=tuple(form["tags"]), metadata=form["metadata"])


def _tags(tags: Any) -> tuple[str, ...]:
    if not isinstance(tags, list | tuple | set | frozenset):
        raise Rejected(f"tags: expected a list of texts, got {type(tags).__name__}", code=_CODE)
    if len(tags) > MAX_TAGS:
        raise Rejected(f"tags: at most {MAX_TAGS} are kept, these are {len(tags)}", code=_CODE)
    return tuple(dict.fromkeys(_name(tag, f"tags[{number}]") for number, tag in enumerate(_in_order(tags))))


def _in_order(tags: Iterable[Any]) -> Iterable[Any]:
    return sorted(tags, key=str) if isinstance(tags, set | frozenset) else tags


def _metadata(metadata: Any) -> dict[str, Value]:
    if not isinstance(metadata, Mapping):
        raise Rejected(f"metadata: expected an object, got {type(metadata).__name__}", code=_CODE)
    if len(metadata) > MAX_KEYS:
        raise Rejected(f"metadata: at most {MAX_KEYS} keys are kept, these are {len(metadata)}", code=_CODE)
    return {_name(key, "metadata"): _value(value, f"metadata.{key}") for key, value in metadata.items()}


def _name(name: Any, place: str) -> str:
    if not isinstance(name, str):
        raise Rejected(f"{place}: expected a text, got {type(name).__name__}", code=_CODE)
    if not 1 <= len(name) <= NAME_CHARS or not name.isprintable() or name != name.strip() or "," in name or "=" in name:
        told = f"{name[:40]!r} must have 1 to {NAME_CHARS} printable characters, no comma, no =, and no space at its ends"
        raise Rejected(f"{place}: {told}", code=_CODE)
    return name


def _value(value: Any, place: str) -> Value:
    if not isinstance(value, str | int | float):  # a bool is an int
        raise Rejected(f"{place}: expected a text, a number or true or false, got {type(value).__name__}", code=_CODE)
    if isinstance(value, float) and not math.isfinite(value):
        raise Rejected(f"{place}: {value} is no number of JSON", code=_CODE)
    if isinstance(value, int) and value.bit_length() > VALUE_CHARS * 3:  # so many digits; its text would take long to make
        raise Rejected(f"{place}: a number has at most {VALUE_CHARS} digits", code=_CODE)
    if isinstance(value, str) and not value.isprintable():
        raise Rejected(f"{place}: {value[:40]!r} has characters that cannot be printed", code=_CODE)
    if len(text_of(value)) > VALUE_CHARS:
        told = f"at most {VALUE_CHARS} characters are kept, this has {len(text_of(value))}; what is longer belongs into params"
        raise Rejected(f"{place}: {told}", code=_CODE)
    return value
