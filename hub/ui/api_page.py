"""The API's description as a page for people, made of its OpenAPI document.

Pure: document in, page out. One file without scripts, fonts or anything else from elsewhere.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from hub.ui.markup import Child, Markup, joined, tag

Shape = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --link: #2563eb; }
@media (prefers-color-scheme: dark) { :root { --link: #7aa7ff; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem 1.5rem 6rem; }
code { font-family: ui-monospace, monospace; font-size: .92em; overflow-wrap: anywhere; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
nav { columns: 3 14rem; }
nav div { break-inside: avoid; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; }
summary { cursor: pointer; padding: .45rem .8rem; }
summary:hover { background: var(--soft); }
details > div { border-top: 1px solid var(--line); padding: .2rem .8rem .8rem; }
.verb { display: inline-block; font-weight: 600; min-width: 4.2rem; }
.soft { opacity: .7; }
.scope { border: 1px solid var(--line); border-radius: 9px; font-size: .8em; padding: .05rem .5rem; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid var(--line); padding: .25rem .6rem .25rem 0; vertical-align: top; }
td:first-child { width: 14rem; }
h2 { margin-top: 2.2rem; }
h4 { margin: .9rem 0 .2rem; }
"""
_BOUNDS = {"format": "a", "minimum": "from", "maximum": "to", "minLength": "of at least", "maxLength": "of at most", "maxItems": "at most"}


def page(document: Shape) -> bytes:
    """Return the page, HTML in UTF-8."""
    info, groups = document["info"], _groups(document["paths"])
    body = (
        tag("h1", info["title"], " ", tag("span", info["version"], class_="soft")),
        tag("p", info["description"]),
        tag(
            "p", "Every answer below ", tag("code", "/client/v4"), " is one envelope with ", tag("code", "success"), ", ",
            tag("code", "errors"), ", ", tag("code", "messages"), ", ", tag("code", "result"), ", and for lists ",
            tag("code", "result_info"), ". A token goes into the header ", tag("code", "Authorization: Bearer …"),
            "; beside each address stands the scope that it needs. The same for programs, as OpenAPI 3.1: ",
            tag("a", "/openapi.json", href="/openapi.json"),
        ),
        tag("nav", (tag("div", tag("a", name, href=f"#{_anchor(name)}")) for name in (*groups, "Shapes"))),
        (_section(name, rows) for name, rows in groups.items()),
        tag("h2", "Shapes", id="shapes"),
        (_shape(name, shape) for name, shape in document["components"]["schemas"].items()),
    )  # fmt: skip
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width"),
        tag("title", f"{info['title']} API"),
        tag("style", Markup(_STYLE)),
    )
    return ("<!doctype html>" + tag("html", head, tag("body", body), lang="en")).encode()


def _groups(paths: Shape) -> dict[str, list[Markup]]:
    groups: defaultdict[str, list[Markup]] = defaultdict(list)
    for path, operations in paths.items():
        for method, operation in operations.items():
            groups[_resource(path)].append(_operation(method, path, operation))
    return groups


def _resource(path: str) -> str:
    """Return the heading under which an address stands."""
    parts = [part for part in path.split("/") if part and not part.startswith("{")]
    if parts[:2] != ["client", "v4"]:
        return "Wrangler on this machine" if parts[0] == "cdn-cgi" else "The hub itself"
    if "instances" in parts:
        return "Instances"
    named = [part for part in parts[2:] if part != "accounts"]
    return (named[0] if named else "accounts").capitalize()


def _section(name: str, rows: Iterable[Markup]) -> Markup:
    return joined((tag("h2", name, id=_anchor(name)), rows))


def _operation(method: str, path: str, operation: Shape) -> Markup:
    queries = [each for each in operation["parameters"] if each["in"] != "path"]
    summary = tag(
        "summary",
        (tag("span", method.upper(), class_="verb"), tag("code", path), " ", tag("span", operation["x-scope"], class_="scope")),
        (tag("br"), operation["summary"]),
    )
    inside: list[Child] = []
    if queries:
        rows = ((_name(each["name"], each["required"]), _told(each["schema"])) for each in queries)
        inside += [tag("h4", "Query and headers"), _table(rows)]
    if "requestBody" in operation:
        inside += [tag("h4", "Body"), tag("p", _type(_content(operation["requestBody"])))]
    answers = (
        (tag("code", status), (_type(_result(_content(answer))) if status < "300" else answer["description"]))
        for status, answer in operation["responses"].items()
    )
    inside += [tag("h4", "Answers"), _table(answers)]
    return tag("details", summary, tag("div", inside), id=operation["operationId"])


def _content(holder: Shape) -> Shape:
    schema: Shape = next(iter(holder["content"].values()))["schema"] if holder.get("content") else {}
    return schema


def _result(schema: Shape) -> Shape:
    """Return what is in the envelope, where there is one."""
    properties = schema.get("properties", {})
    inner: Shape = properties["result"] if {"success", "result"} <= properties.keys() else schema
    return inner


def _shape(name: str, schema: Shape) -> Markup:
    required = schema.get("required", ())
    rows = [(_name(field, field in required), _told(shape)) for field, shape in schema.get("properties", {}).items()]
    inside = _table(rows) if rows else tag("p", _type(schema))
    told = tag("p", _first(schema.get("description", "")))
    return tag("details", tag("summary", tag("code", name)), tag("div", told, inside), id=f"shape-{name}")


def _name(name: str, required: bool) -> Child:
    return (tag("code", name), None if required else (" ", tag("span", "optional", class_="soft")))


def _table(rows: Iterable[tuple[Child, Child]]) -> Markup:
    return tag("table", (tag("tr", tag("td", name), tag("td", told)) for name, told in rows))


def _told(schema: Shape) -> Child:
    described = _first(schema.get("description", ""))
    return (_type(schema), "; " + described if described else None)


def _type(schema: Shape) -> Markup:
    """Say a schema in a few words, with links to the shapes that it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return tag("a", tag("code", name), href=f"#shape-{name}")
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _either(_type(each) for each in schema[several])
    if "const" in schema:
        return tag("code", str(schema["const"]))
    if "enum" in schema:
        return _either(tag("code", str(each)) for each in schema["enum"])
    if schema.get("type") == "array":
        return joined(("list of ", _type(schema.get("items", {}))))
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    default = [f"default {schema['default']}"] if schema.get("default") not in (None, "") else []
    return joined(", ".join([str(schema.get("type") or "any value"), *bounds, *default]))


def _either(choices: Iterable[Markup]) -> Markup:
    return joined([part for each in dict.fromkeys(choices) for part in (" or ", each)][1:])


def _first(text: str) -> str:
    """Return the first paragraph."""
    return text.partition("\n\n")[0].replace("\n", " ")


def _anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower())
