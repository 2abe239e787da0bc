"""The values of the hot path behave as the frozen dataclasses that they look like."""

from __future__ import annotations

import gc
from dataclasses import asdict, fields, is_dataclass, replace

import pytest

from hub.core.values import Value, changed


class Place(Value, frozen=True, kw_only=True):
    """A value with a default."""

    name: str
    floor: int = 0


class Room(Place, frozen=True, kw_only=True):
    """A value with more fields."""

    number: int


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Place(name="a").floor = 2  # type: ignore[misc]


def test_a_value_is_a_dataclass_to_whoever_asks() -> None:
    room = Room(name="a", number=7)
    assert is_dataclass(room)
    assert [field.name for field in fields(Room)] == ["name", "floor", "number"]
    assert [field.name for field in fields(Place)] == ["name", "floor"]
    assert asdict(room) == {"name": "a", "floor": 0, "number": 7}
    assert replace(room, floor=3) == changed(room, floor=3) == Room(name="a", floor=3, number=7)
    assert repr(room) == "Room(name='a', floor=0, number=7)"


def test_values_are_equal_by_class_and_fields() -> None:
    assert Place(name="a") == Place(name="a", floor=0)
    assert hash(Place(name="a")) == hash(Place(name="a", floor=0))
    assert Place(name="a") != Place(name="b")


def test_a_mistaken_field_is_an_error() -> None:
    with pytest.raises(TypeError, match="flor"):
        changed(Place(name="a"), flor=1)
    with pytest.raises(TypeError, match="flor"):
        replace(Place(name="a"), flor=1)  # type: ignore[call-arg]


def test_the_garbage_collector_has_nothing_to_do_with_a_value() -> None:
    assert not gc.is_tracked(Room(name="a", number=7))
