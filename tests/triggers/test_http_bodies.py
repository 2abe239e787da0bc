"""How the bytes of a webhook become a JSON value, and what is refused rather than guessed."""

from __future__ import annotations

import base64
import contextlib
import gzip
import zlib
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.codec import encode
from hub.core.errors import PayloadTooLarge, Rejected
from triggers._bodies import check_accepted, read_payload, unpack
from triggers._cloudevents import read_events

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
PIXEL = b"\x89PNG\r\n\x1a\n\x00\xff"


def part(content: bytes, *headers: str) -> bytes:
    return b"--b\r\n" + "\r\n".join(headers).encode() + b"\r\n\r\n" + content + b"\r\n"


NAMED = 'Content-Disposition: form-data; name="a"'
FILE = 'Content-Disposition: form-data; name="f"; filename="x.bin"'


@pytest.mark.parametrize(
    ("content_type", "body", "payload"),
    [
        (JSON, b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("Application/JSON; charset=utf-8", b'"text"', "text"),
        ("application/vnd.github+json", b"[]", []),
        (JSON, b"12345678901234567890123", 12345678901234567890123),
        (FORM, b"a=1&b=x+y&b=%C3%A9&c=", {"a": "1", "b": ["x y", "é"], "c": ""}),
        (FORM, b"payload=%7B%22a%22%3A1%7D", {"payload": '{"a":1}'}),
        ("text/plain", "größe".encode(), "größe"),
        ('text/csv; charset="ISO-8859-1"', "größe".encode("latin-1"), "größe"),
        ("text/plain; format=flowed; charset=utf-16", "ж".encode("utf-16"), "ж"),
        ("application/xml", b"<a>1</a>", "<a>1</a>"),
        ("application/soap+xml; charset=iso-8859-1", b"<a>\xe9</a>", "<a>é</a>"),
        ("application/x-ndjson", b'{"a":1}\n{"a":2}\n', '{"a":1}\n{"a":2}\n'),
        ("image/png", PIXEL, {"content_type": "image/png", "base64": base64.b64encode(PIXEL).decode()}),
        ("Application/X-Own; a=b", b"x", {"content_type": "application/x-own", "base64": "eA=="}),
        ("", b"", None),
        (JSON, b"", None),
        ("image/png", b"", None),
    ],
)
def test_body_becomes_the_value_that_its_content_type_says(content_type: str, body: bytes, payload: Any) -> None:
    assert read_payload(content_type, body) == payload


@pytest.mark.parametrize(
    ("content_type", "body", "code", "word"),
    [
        (JSON, b'{"a": 1,\n "b": }', "payload.malformed", "line 2"),
        (JSON, b"\xff", "payload.malformed", "UTF-8"),
        (JSON, b"[" * 5000, "payload.malformed", "line 1"),
        (JSON, b"[" * 110 + b"]" * 110, "payload.malformed", "nested"),
        (JSON, b"NaN", "payload.malformed", "line 1"),
        ("nonsense", b"{}", "payload.unsupported_type", "nonsense"),
        ("a/b/c", b"{}", "payload.unsupported_type", "a/b/c"),
        ("", b"{}", "payload.unsupported_type", "missing"),
        (FORM, b' {"a": 1}', "payload.unsupported_type", "looks like JSON"),
        (FORM, b"a=%ff", "payload.malformed", "UTF-8"),
        (FORM, b"a=1&" * 2000, "payload.too_large", "fields"),
        ("text/plain", b"a\xff", "payload.malformed", "position 1"),
        ("text/plain; charset=unicode_escape", b"a", "payload.unsupported_type", "charset"),
        ("text/plain; charset=rot13", b"a", "payload.unsupported_type", "charset"),
        ("multipart/form-data", b"--b--", "payload.malformed", "names no boundary"),
        (MULTIPART, b"nothing", "payload.malformed", "boundary is not in it"),
        (MULTIPART, part(b"1", NAMED), "payload.malformed", "breaks off"),
        (MULTIPART, b"--b\r\n--b--\r\n", "payload.malformed", "part 1"),
        (MULTIPART, part(b"1", NAMED) + part(b"2", "Content-Type: text/plain") + b"--b--", "payload.malformed", "part 2 has no name"),
        (MULTIPART, b"--b\r\n\r\n1\r\n--b--", "payload.malformed", "part 1 has no name"),
        (MULTIPART, b"--b\r\n" + NAMED.encode() + b"\r\n--b--", "payload.malformed", "no end of its headers"),
        (MULTIPART, part(b"1", NAMED, "X-A: " + "a" * 9000) + b"--b--", "payload.malformed", "headers of part 1 are too long"),
        (MULTIPART, part(b"1", NAMED) * 1001 + b"--b--", "payload.too_large", "1000 parts"),
    ],
)
def test_body_that_cannot_be_read_is_rejected_with_its_reason(content_type: str, body: bytes, code: str, word: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_payload(content_type, body)
    assert caught.value.code == code
    assert word in caught.value.message


# ---- multipart forms


END = b"--b--"
NOISE = b"x\r\n--bc\r\n-- b\r\n--b-"  # looks like a boundary, and is none
QUOTED = 'Content-Disposition: form-data; name="f"; filename="a \\"b\\".json"'
EXTENDED = "Content-Disposition: form-data; name=f; filename=\"x\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt"
OCTETS = "application/octet-stream"


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (part(b"1", NAMED) + END, {"a": "1"}),
        (b"preamble\r\n" + part(b"1", NAMED) + b"--b--\r\nepilogue", {"a": "1"}),
        (part(b"1", NAMED) + part(b"", NAMED) + END, {"a": ["1", ""]}),
        (part(NOISE, NAMED) + b"--b  \r\n" + part(b"2", NAMED)[5:] + END, {"a": [NOISE.decode(), "2"]}),
        (part("é".encode(), 'content-disposition: form-data; name="größe"') + END, {"größe": "é"}),
        (part(b"1", "Content-Disposition: form-data; name=a; x=y") + END, {"a": "1"}),
        (part(b"\xe9", NAMED, "Content-Type: text/plain; charset=ISO-8859-1") + END, {"a": "é"}),
        (part(b"\xe9", NAMED) + END, {"a": {"content_type": "text/plain", "base64": "6Q=="}}),
        (part(PIXEL, FILE) + END, {"f": {"filename": "x.bin", "content_type": OCTETS, "base64": "iVBORw0KGgoA/w=="}}),
        (part(b"{}", QUOTED, "Content-Type: " + JSON) + END, {"f": {"filename": 'a "b".json', "content_type": JSON, "text": "{}"}}),
        (part(b"x", EXTENDED, "Content-Type: text/csv") + END, {"f": {"filename": "größe.txt", "content_type": "text/csv", "text": "x"}}),
        (part(b"", FILE.replace("x.bin", "")) + END, {"f": {"filename": "", "content_type": OCTETS, "base64": ""}}),
    ],
)
def test_fields_and_files_of_a_form_are_data(body: bytes, payload: Any) -> None:
    assert read_payload(MULTIPART, body) == payload


def test_boundary_may_be_any_bytes() -> None:
    body = part(b"1", NAMED).replace(b"--b", b"--\xff") + b"--\xff--"
    assert read_payload("multipart/form-data; boundary=\udcff", body) == {"a": "1"}


@given(st.binary(max_size=200), st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_what_another_library_puts_into_a_form_comes_out_of_it(content: bytes, value: str) -> None:
    with aiohttp.MultipartWriter("form-data") as writer:
        file = writer.append(content, {"content-type": "application/octet-stream"})
        file.set_content_disposition("form-data", name="file", filename="a.bin")
        field = writer.append(value)
        field.set_content_disposition("form-data", name="field")

    payload = read_payload(writer.headers["content-type"], _written(writer))

    assert base64.b64decode(payload["file"]["base64"]) == content
    assert (payload["field"], payload["file"]["filename"]) == (value, "a.bin")


def _written(writer: aiohttp.MultipartWriter) -> bytes:
    """Drive the writer by hand: it wants a stream, and has nothing to wait for."""
    written = bytearray()

    class Sink:
        async def write(self, data: bytes) -> None:
            written.extend(data)

    running = writer.write(Sink())  # type: ignore[arg-type]  # all that it calls is there
    with pytest.raises(StopIteration):
        running.send(None)
    return bytes(written)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_of_forms_fail(body: bytes) -> None:
    with contextlib.suppress(Rejected):
        assert isinstance(read_payload(MULTIPART, b"--b" + body), dict)


HEADER_TEXT = st.text(alphabet=st.one_of(st.characters(min_codepoint=32, max_codepoint=255), st.just("\udcff")), max_size=20)
KINDS = st.sampled_from(
    [JSON, FORM, MULTIPART, "text/plain; charset=utf-16", "image/png", "application/cloudevents+json", "", "x", "\udcff"]
)
PIECES = st.sampled_from(
    [b'{"specversion":"1.0","id":"1","source":"s","type":"t"}', b"[", b"]", b",", b'"\\ud800"', b"--b", b"\r\n", b"\xff", b"a=%ff&"]
)


@given(
    KINDS, st.lists(PIECES, max_size=5).map(b"".join), st.dictionaries(st.sampled_from(["ce-specversion", "ce-id", "ce-x"]), HEADER_TEXT)
)
def test_whatever_is_sent_becomes_what_the_hub_can_store_or_is_rejected(kind: str, body: bytes, headers: dict[str, str]) -> None:
    with contextlib.suppress(Rejected):
        encode(read_payload(kind, body))
    with contextlib.suppress(Rejected):
        found = read_events({"ce-source": "s", "ce-type": "t", **headers, "content-type": kind}, body)
        for event in found if isinstance(found, list) else [found] if found else []:
            encode([dict(event.attributes), event.data, event.key, event.subject])


# ---- what is accepted, and compression


@pytest.mark.parametrize("kind", ["application/json", "image/png", "image/gif"])
def test_accepted_kinds_pass(kind: str) -> None:
    check_accepted(kind, ("application/json", "image/*"))
    check_accepted(kind, ())


@pytest.mark.parametrize("kind", ["", "application/jsonx", "text/plain", "imagex/png", "application/vnd.a+json"])
def test_other_kinds_are_named_with_those_that_are_accepted(kind: str) -> None:
    with pytest.raises(Rejected, match=r"accepted are: application/json, image/\*") as caught:
        check_accepted(kind, ("application/json", "image/*"))
    assert caught.value.code == "payload.unsupported_type"


def raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body, wbits=-15)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("", b"hello"),
        ("identity", b"hello"),
        ("gzip", gzip.compress(b"hello")),
        (" GZIP ", gzip.compress(b"hello")),
        ("x-gzip", gzip.compress(b"hel") + gzip.compress(b"lo")),
        ("deflate", zlib.compress(b"hello")),
        ("deflate", raw_deflate(b"hello")),
    ],
)
def test_compression_is_undone(encoding: str, packed: bytes) -> None:
    assert unpack(encoding, packed, 5) == b"hello"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_small_body_that_unpacks_into_a_huge_one_is_refused_before_it_has_grown(encoding: str) -> None:
    bomb = gzip.compress(bytes(50_000_000)) if encoding == "gzip" else zlib.compress(bytes(50_000_000))
    with pytest.raises(PayloadTooLarge, match="1,000 bytes when it is unpacked"):
        unpack(encoding, bomb, 1000)
    assert len(unpack(encoding, bomb, 50_000_000)) == 50_000_000


@pytest.mark.parametrize("packed", [b"hello", gzip.compress(b"hello")[:-1], gzip.compress(b"hello") + b"x", gzip.compress(b"hello")[:3]])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_body_that_is_not_compressed_as_it_says_is_malformed(encoding: str, packed: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        unpack(encoding, packed, 1000)
    assert caught.value.code == "payload.malformed"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "nonsense"])
def test_unknown_compression_is_unsupported(encoding: str) -> None:
    with pytest.raises(Rejected, match="use gzip") as caught:
        unpack(encoding, b"x", 1000)
    assert caught.value.code == "payload.unsupported_type"
