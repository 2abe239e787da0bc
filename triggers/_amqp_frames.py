"""Frames of an AMQP broker that the client library cannot read, made readable without changing their length.

The library gives up the whole connection for one such frame, and the broker delivers the message again over the next one: a queue would
stand still behind it for ever. Mends what belongs to one message and nothing else. Invariant: a message whose properties were taken away
says so in its content header's weight, which is zero in every message that a broker sends (AMQP 0-9-1, section 4.2.6.1).
"""

from __future__ import annotations

import asyncio
import struct

from pamqp.commands import Basic
from pamqp.header import ContentHeader

WITHOUT_PROPERTIES = 1  # the weight of a content header whose properties could not be read

_PROTOCOL = b"AMQP"  # a broker of another version answers with this, in no frame
_HEAD_BYTES = 7  # type, channel, size
_METHOD, _CONTENT_HEADER = 1, 2
_DELIVER = struct.pack(">HH", 60, 60)
_WEIGHT, _FLAGS = slice(2, 4), slice(12, 14)  # of a content header: class, weight, size of the body, and which properties follow


class FrameReader:
    """Reads a stream as the library does, from frames that are whole and mended."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._ready = b""

    def at_eof(self) -> bool:
        """Whether nothing more will come."""
        return not self._ready and self._reader.at_eof()

    async def readexactly(self, count: int) -> bytes:
        """Return the next bytes. Raises: asyncio.IncompleteReadError when the stream ends before."""
        while len(self._ready) < count:
            self._ready += await self._frame()
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    async def _frame(self) -> bytes:
        head = await self._reader.readexactly(_HEAD_BYTES)
        if head.startswith(_PROTOCOL):
            return head
        kind, _, size = struct.unpack(">BHI", head)
        rest = await self._reader.readexactly(size + 1)
        if kind == _CONTENT_HEADER:
            rest = _mended_header(rest)
        elif kind == _METHOD and rest.startswith(_DELIVER):
            rest = _mended_deliver(rest)
        return head + rest


def _mended_header(raw: bytes) -> bytes:
    try:
        ContentHeader().unmarshal(raw[:-1])
    except Exception:  # whatever it is, it would end the connection
        mended = bytearray(raw)
        mended[_WEIGHT] = struct.pack(">H", WITHOUT_PROPERTIES)
        mended[_FLAGS] = b"\0\0"  # none; what stands behind is not looked at then
        return bytes(mended)
    return raw


def _mended_deliver(raw: bytes) -> bytes:
    """Replace bytes of a route that is not UTF-8 by question marks."""
    try:
        Basic.Deliver().unmarshal(raw[4:-1])
    except Exception:
        mended = bytearray(raw)
        place = len(_DELIVER)
        place += 1 + mended[place] + 9  # the consumer's tag is our own; the delivery's tag, and whether it was delivered before
        for _ in ("exchange", "routing key"):
            text = slice(place + 1, place + 1 + mended[place])
            mended[text] = bytes(byte if byte < 0x80 else 0x3F for byte in mended[text])
            place = text.stop
        return bytes(mended)
    return raw
