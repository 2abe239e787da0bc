"""Markup that cannot forget to escape."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from hub.ui.markup import Markup, joined, tag

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></main><script>1</script>",
    "&lt;b&gt;",
    "\u202ertl\u0000null",
    "javascript:alert(1)",
    "<!--",
    "]]>",
    "{{7*7}}",
]


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


@pytest.mark.parametrize("text", NASTY)
def test_text_stays_text(text: str) -> None:
    seen = read(tag("p", text))
    assert [name for name, _ in seen.tags] == ["p"]
    assert seen.text == text


@pytest.mark.parametrize("text", NASTY)
def test_an_attribute_stays_one_attribute(text: str) -> None:
    seen = read(tag("a", "x", title=text))
    assert seen.tags == [("a", {"title": text})]


def test_markup_is_escaped_once() -> None:
    assert tag("p", tag("b", "<")) == "<p><b>&lt;</b></p>"


def test_children_may_be_nested_absent_or_numbers() -> None:
    assert joined(["a", None, 1, [Markup("<br>"), ["b"]]]) == "a1<br>b"


def test_attributes_without_a_value_are_left_out() -> None:
    assert tag("a", href=None, hidden=False, download=True, class_="x", data_y=1) == '<a download class="x" data-y="1"></a>'


def test_an_element_without_content_has_no_end() -> None:
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'
