"""Paths and patterns of triggers: who answers where, and what may not stand beside each other."""

from __future__ import annotations

import pytest

from hub.core.errors import ConfigError
from hub.core.model import HttpReply, HttpRequest
from hub.core.routing import ReadBody
from hub.engine.routes import RouteTable


async def answer(_head: HttpRequest, _read: ReadBody) -> HttpReply:
    return HttpReply(status=200)


def serving(*paths: str) -> RouteTable:
    table = RouteTable("local")
    for path in paths:
        table.add(path, answer, methods=["post"])
    return table


def found(table: RouteTable, path: str) -> tuple[str, dict[str, str]] | None:
    matched = table.match(path)
    return None if matched is None else (matched.route.path, dict(matched.params))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/hooks/a", ("/hooks/a", {})),
        ("/hooks/%61", ("/hooks/a", {})),
        ("/hooks/a/b", ("/hooks/a/{x}", {"x": "b"})),
        ("/hooks/a/b%2Fc%20d", ("/hooks/a/{x}", {"x": "b/c d"})),
        ("/hooks/a/%ff", ("/hooks/a/{x}", {"x": "\ufffd"})),
        ("/hooks/o/7/items/8", ("/hooks/o/{order}/items/{item}", {"order": "7", "item": "8"})),
        ("/hooks/a/", None),
        ("/hooks/a/b/c", None),
        ("/hooks/o/7/other/8", None),
        ("/hooks/o//items/8", None),
        ("/hooks", None),
    ],
)
def test_path_leads_to_the_endpoint_and_the_values_of_its_names(path: str, expected: tuple[str, dict[str, str]] | None) -> None:
    assert found(serving("/hooks/a", "/hooks/a/{x}", "/hooks/o/{order}/items/{item}"), path) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/hooks/a", "/hooks/a"),
        ("/hooks/a/{x}", "/hooks/a/new"),
        ("/hooks/a/new", "/hooks/a/{x}"),
        ("/hooks/a/{x}", "/hooks/a/{y}"),
        ("/hooks/{x}/b", "/hooks/a/{y}"),
    ],
)
def test_two_endpoints_for_one_path_are_refused_with_both_names(one: str, other: str) -> None:
    table = serving(one)
    with pytest.raises(ConfigError) as caught:
        table.add(other, answer, methods=["GET"])
    assert one in caught.value.message
    assert other in caught.value.message
    assert found(table, one.replace("{x}", "v")) is not None


@pytest.mark.parametrize(("one", "other"), [("/hooks/a/{x}", "/hooks/b/{x}"), ("/hooks/{x}", "/hooks/{x}/y"), ("/hooks/a/{x}", "/hooks/a")])
def test_patterns_that_share_no_path_live_side_by_side(one: str, other: str) -> None:
    table = serving(one, other)
    for path in (one, other):
        served = found(table, path.replace("{x}", "v"))
        assert served is not None
        assert served[0] == path


@pytest.mark.parametrize("path", ["/hooks/a", "/hooks/a/{x}"])
def test_removed_endpoint_frees_its_place_and_removing_it_again_harms_nobody(path: str) -> None:
    table = RouteTable("local")
    remove = table.add(path, answer, methods=["POST"])
    remove()
    assert found(table, path.replace("{x}", "v")) is None
    table.add(path, answer, methods=["POST"])
    remove()
    assert found(table, path.replace("{x}", "v")) is not None


def test_methods_are_kept_in_capitals() -> None:
    matched = serving("/hooks/a").match("/hooks/a")
    assert matched is not None
    assert matched.route.methods == {"POST"}
