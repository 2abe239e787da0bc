"""Frames that the client library cannot read, as bytes on the wire, read by the library's own functions."""

from __future__ import annotations

import asyncio
import struct

from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from triggers._amqp_frames import WITHOUT_PROPERTIES, FrameReader


def _framed(kind: int, content: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(content)) + content + b"\xce"


def _header(properties: bytes) -> bytes:
    return _framed(2, struct.pack(">HHQ", 60, 0, 5) + properties)


async def _mended(wire: bytes) -> bytes:
    """Return what the library gets of these bytes, which it asks for piece by piece."""
    stream = asyncio.StreamReader()
    stream.feed_data(wire)
    stream.feed_eof()
    reader, got = FrameReader(stream), b""
    while not reader.at_eof():
        head = await reader.readexactly(1) + await reader.readexactly(6)
        got += head + await reader.readexactly(int.from_bytes(head[3:]) + 1)
    return got


async def test_frames_that_can_be_read_stay_as_they_are() -> None:
    properties = Basic.Properties(content_type="application/json", message_id="m1", headers={"x": [1, {"y": bytearray(b"\xff")}]})
    sent = [
        frame.marshal(Basic.Deliver("tag", 1, False, "", "orders"), 1),
        frame.marshal(ContentHeader(0, 5, properties), 1),
        frame.marshal(ContentBody(b"hello"), 1),
        _framed(8, b""),
    ]

    assert await _mended(b"".join(sent)) == b"".join(sent)


async def test_a_route_that_is_not_utf_8_gets_question_marks() -> None:
    wire = frame.marshal(Basic.Deliver("tag", 7, True, "exchange", "bestellung-fuer"), 1)
    mended = await _mended(wire.replace(b"fuer", b"f\xfcr!").replace(b"exchange", b"\xe9xchange"))

    _, _, read = frame.unmarshal(mended)
    assert isinstance(read, Basic.Deliver)
    assert (read.delivery_tag, read.redelivered, read.exchange, read.routing_key) == (7, True, "?xchange", "bestellung-f?r!")


@given(flags=st.integers(0, 0xFFFF), content=st.binary(max_size=60))
def test_no_properties_of_a_message_break_the_library(flags: int, content: bytes) -> None:
    wire = _header(struct.pack(">H", flags) + content)
    mended = asyncio.run(_mended(wire))

    _, _, read = frame.unmarshal(mended)
    assert isinstance(read, ContentHeader)
    assert read.body_size == 5
    assert mended == wire or (read.weight == WITHOUT_PROPERTIES and dict(read.properties) == dict(Basic.Properties()))
