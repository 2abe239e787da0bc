"""The page that describes the API: everything of the document, nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hub.ui.api_page import page
from tests.api.node import Node, running


class Read(HTMLParser):
    """The ids, links and outside references of a page, and whether its elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.outside: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href":
                self.links.append(value or "")
            elif name in ("src", "style", "onclick"):
                self.outside.append(f"{tag} {name}")
        if tag in ("script", "link", "img", "iframe"):
            self.outside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
async def read(node: Node) -> Read:
    reply = await node.call("GET", "/docs")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return Read(reply.raw.decode())


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running(tmp_path) as node:
        yield node


async def test_every_operation_and_every_shape_has_its_place(node: Node, read: Read) -> None:
    document = (await node.call("GET", "/openapi.json")).body
    wanted = {operation["operationId"] for methods in document["paths"].values() for operation in methods.values()}
    wanted |= {f"shape-{name}" for name in document["components"]["schemas"]}
    assert wanted <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))


async def test_every_link_leads_somewhere_and_nothing_is_loaded(read: Read) -> None:
    assert not read.open
    assert not read.outside
    assert {link for link in read.links if not link.startswith("#")} == {"/openapi.json"}
    assert {link.removeprefix("#") for link in read.links if link.startswith("#")} <= set(read.ids)


async def test_what_the_document_says_is_text_and_no_markup() -> None:
    told = "<script>alert(1)</script>"
    operation = {
        "operationId": "x", "summary": told, "x-scope": told, "parameters": [], "responses": {"404": {"description": told}},
    }  # fmt: skip
    document = {
        "info": {"title": told, "version": told, "description": told},
        "paths": {"/x": {"get": operation}},
        "components": {"schemas": {told: {"description": told, "properties": {told: {"const": told}}}}},
    }
    text = page(document).decode()
    assert "<script" not in text
    assert len(re.findall("&lt;script&gt;", text)) >= 8
