"""The codec: every value comes back as it was, outside JSON stays JSON, and what cannot be kept is refused with its path."""

from __future__ import annotations

import enum
import json
import math
import re
import socket
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.codec import decode, dump_plain, encode, keep, plain
from hub.core.errors import Rejected
from hub.core.outside import MAX_OUTSIDE_DEPTH, parse_json

TEXT = st.text() | st.just("$hub")  # text() makes no surrogates
ZONES = st.none() | st.just(UTC) | st.timezones() | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary()
    | st.datetimes(timezones=ZONES, allow_imaginary=False)
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
KEYS = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(TEXT, inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
        | st.binary().map(bytearray)
    ),
    max_leaves=20,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Equality that tells 1 from 1.0 and True, a list from a tuple, and a naive time from an aware one."""
    if type(left) is not type(right) or left != right:
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return all(map(same, left, right))
    return not isinstance(left, datetime | time) or left.utcoffset() == right.utcoffset()


@given(VALUES)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    assert same(decode(encode(value)), value)


@given(VALUES)
def test_a_value_that_is_written_and_read_at_once_is_as_if_it_were_read_later(value: Any) -> None:
    written, read = keep(value)
    assert written == encode(value)
    assert same(read, decode(written))


@given(VALUES)
def test_what_is_stored_is_json(value: Any) -> None:
    json.loads(encode(value), parse_constant=pytest.fail)


@given(VALUES)
def test_clients_see_json_only(value: Any) -> None:
    shown = plain(encode(value))
    json.loads(dump_plain(shown), parse_constant=pytest.fail)


@given(JSON)
def test_json_from_outside_never_becomes_a_tagged_type(value: Any) -> None:
    outside = parse_json(json.dumps(value).encode())
    assert same(outside, value)
    assert same(decode(encode(outside)), value)
    assert same(plain(encode(outside)), value)


@pytest.mark.parametrize(
    "text",
    [
        '{"$hub": ["bytes", "AAAA"]}',
        '[{"$hub": ["dict", [["a", 1]]]}]',
        '{"a": {"$hub": {"$hub": ["set", [1]]}}}',
        '{"\\u0024hub": ["int", "12"]}',
        '{"$hub": null}',
    ],
)
def test_forged_tags_stay_plain_dicts(text: str) -> None:
    assert decode(encode(parse_json(text))) == json.loads(text)


@pytest.mark.parametrize("value", [math.nan, [math.nan], {"a": [1.0, math.nan]}])
def test_nan_is_kept(value: Any) -> None:
    assert repr(decode(encode(value))) == repr(value)


def test_decimal_nan_and_exponent_are_kept() -> None:
    assert str(decode(encode(Decimal("NaN")))) == "NaN"
    assert str(decode(encode(Decimal("1.500E+7")))) == "1.500E+7"


def test_a_time_zone_keeps_its_name() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    moment = datetime(2026, 3, 28, 12, tzinfo=berlin)
    assert (decode(encode(moment)) + timedelta(days=1)).utcoffset() == timedelta(hours=2)
    assert decode(encode(time(12, tzinfo=berlin))) == time(12, tzinfo=berlin)


def test_the_same_set_is_always_the_same_bytes() -> None:
    assert encode({"a", "b", "c", 1, (2, 3)}) == encode({(2, 3), 1, "c", "b", "a"})


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Point:
    x: int
    at: datetime


class Model(pydantic.BaseModel):
    amount: Decimal
    tags: set[str] = set()


Pair = namedtuple("Pair", "left right")  # the untyped form is what authors have


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Colour.RED, "red"),
        ([Colour.PAIR, Level.LOW], [(1, 2), 1]),
        ({Colour.RED: 1}, {"red": 1}),
        (Point(1, datetime(2026, 1, 1, tzinfo=UTC)), {"x": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)}),
        (Model(amount=Decimal("1.10"), tags={"a"}), {"amount": Decimal("1.10"), "tags": {"a"}}),
        (Pair(1, 2), (1, 2)),
        (OrderedDict(a=1), {"a": 1}),
    ],
)
def test_classes_become_plain_values(value: Any, kept: Any) -> None:
    assert same(decode(encode(value)), kept)
    assert same(keep(value)[1], kept)


def test_nan_is_never_read_as_null() -> None:
    written, read = keep({"a": [float("nan")]})
    assert written == encode({"a": [float("nan")]})
    assert read["a"][0] != read["a"][0]


def test_what_was_kept_shares_nothing_with_the_value() -> None:
    value = {"items": [1]}
    written, read = keep(value)
    value["items"].append(2)
    assert (decode(written), read) == ({"items": [1]}, {"items": [1]})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"items": [1, 2, 3, socket.socket]}, 'result["items"][3]: a value of type type cannot be stored'),
        (lambda: None, "result: a value of type function cannot be stored"),
        ([object()], "result[0]: a value of type object cannot be stored"),
        ({1: {"a": {2: object()}}}, 'result[1]["a"][2]: a value of type object cannot be stored'),
        ({Point(1, datetime(2026, 1, 1))}, "result: a set member that is stored as a dict"),
        ({Point(1, datetime(2026, 1, 1)): 1}, "result: a key that is stored as a dict"),
    ],
)
def test_a_type_that_cannot_be_stored_is_named_with_its_path(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match="^" + re.escape(message)):
        encode(value, what="result")


async def test_a_forgotten_await_is_named() -> None:
    async def body() -> None: ...

    forgotten = body()
    with pytest.raises(TypeError, match=r"coroutine cannot be stored; is an `await` missing\?"):
        encode({"a": forgotten})
    await forgotten


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = [loop, loop]
    with pytest.raises(ValueError, match=r'^value\["self"\]\[0\].*does the value contain itself\?'):
        encode(loop)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match=r'^value\["a"\]\[0\]: the text is not Unicode: a lone surrogate at position 1'):
        encode({"a": ["x\ud800"]})
    with pytest.raises(ValueError, match="lone surrogate"):
        encode({"\ud800": 1})


def test_keys_that_would_collide_are_refused() -> None:
    with pytest.raises(ValueError, match="two keys become the same text"):
        encode({Colour.RED: 1, "red": 2})


def test_an_integer_that_python_could_not_read_back_is_refused() -> None:
    assert decode(encode(10**4_000)) == 10**4_000
    with pytest.raises(ValueError, match="integer of more than"):
        encode(10**5_000)


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: (inner,), lambda inner: {"a": (inner,)}])
def test_nesting_is_kept_to_the_limit_and_refused_beyond(wrap: Any) -> None:
    value: Any = 1
    for _ in range(100):
        value = wrap(value)
    assert decode(encode(value)) == value
    for _ in range(200):
        value = wrap(value)
    with pytest.raises(ValueError, match="nested"):
        encode(value)


@pytest.mark.parametrize("data", [b"", b"{", b'{"$hub":["new-type",1]}'])
def test_bytes_of_somebody_else_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="empty|end of|unknown stored type|EOF|unexpected"):
        decode(data)


def test_what_json_clients_see() -> None:
    value = {
        "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "zoned": datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
        "clock": time(1, 2),
        "for": timedelta(seconds=1.5),
        "raw": b"\x00\xff",
        "price": Decimal("1.10"),
        "id": UUID(int=1),
        "pair": (1, 2),
        "set": {1},
        "big": 2**70,
        "nan": math.nan,
        "inf": -math.inf,
        "keys": {1: "a", None: "b", (1, 2): "c"},
        "clash": {1: "a", "1": "b"},
    }
    assert plain(encode(value)) == {
        "at": "2026-01-02T03:04:05+00:00",
        "day": "2026-01-02",
        "zoned": "2026-01-02T00:00:00+01:00",
        "clock": "01:02:00",
        "for": 1.5,
        "raw": "AP8=",
        "price": "1.10",
        "id": "00000000-0000-0000-0000-000000000001",
        "pair": [1, 2],
        "set": [1],
        "big": 2**70,
        "nan": "NaN",
        "inf": "-Infinity",
        "keys": {"1": "a", "null": "b", "[1,2]": "c"},
        "clash": [[1, "a"], ["1", "b"]],
    }


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"  \n", "it is empty"),
        (b'{"a": 1,\n "b": x}', "at line 2 column 7"),
        (b'{"a": NaN}', "at line 1 column 7"),
        (b"[12345678901234567890, NaN]", "NaN is not a JSON value"),
        (b"[12345678901234567890, 1e999]", "the number 1e999 is out of range"),
        (b"[12345678901234567890,]", "at line 1 column"),
        (b'["12345678901234567890", "\\ud800"]', "half of a surrogate pair"),
        (b'["12345678901234567890",\n"\xff"]', "not UTF-8 at line 2 column 2"),
        (b'\n["\xff"]', "not UTF-8 at line 2 column 3"),
        (b"1e999", "at line 1 column 1"),
        (b'"\\ud800"', "at line 1 column"),
        ('"\ud800"', "not UTF-8"),
        (b"9" * 5_000, "more than 4,200 digits"),
        (b"[" * 100_000, "depth|nested"),
        (b"[" * 100_000 + b"1" * 30, "nested deeper"),
        (b"[" * 101 + b"]" * 101, "nested deeper than 100 levels"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested deeper than 100 levels"),
        (b"1 2", "at line 1 column 3"),
    ],
)
def test_malformed_json_is_rejected_with_the_place(data: bytes | str, reason: str) -> None:
    with pytest.raises(Rejected, match=reason) as caught:
        parse_json(data)
    assert caught.value.code == "payload.malformed"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 2**63, 10**400, -(10**25)])
def test_large_integers_from_outside_keep_their_exact_value(number: int) -> None:
    assert parse_json(f'{{"n": [{number}, 0.12345678901234567890]}}') == {"n": [number, 0.12345678901234567890]}


def test_nesting_up_to_the_limit_and_many_shallow_containers_are_read() -> None:
    deep = b"[" * MAX_OUTSIDE_DEPTH + b"]" * MAX_OUTSIDE_DEPTH
    assert dump_plain(parse_json(deep)) == deep
    assert len(parse_json(b"[" + b",".join([b"{}"] * 500) + b"]")) == 500


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]
