"""Every address of a hub, and what can be done to one on its way: for tests that walk all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hub.api.operation import Operation
from tests.api.node import ACCOUNT, Node

PLACES = {
    "account": ACCOUNT, "workflow": "greet", "instance": "a", "version": "v", "type": "go", "trigger": "greetings", "delivery": "d",
    "token": "t", "queue": "q", "message": "m", "job": "j", "node": "1",
}  # fmt: skip
DASHBOARD = ("/dashboard", "/dashboard/workflows/greet", "/dashboard/static/dashboard.css", "/dashboard/triggers", "/dashboard/deliveries")
UNDECLARED = ("/client/v4", "/client/v4/", "/client/v4/nope", "/client/v4/accounts/local", "/client/v4/accounts/local/nope")
OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})  # whatever else needs no token belongs to the project


class Door(NamedTuple):
    """A method and a path."""

    method: str
    path: str


class Answered(NamedTuple):
    """What came back over a bare socket."""

    status: int
    head: str
    body: str


def path_of(row: Operation, **places: str) -> str:
    return row.path.format(**{**PLACES, **places})


def closed_doors(node: Node) -> list[Door]:
    """Return every row of the table that needs a token, the dashboard, and addresses below the API that no row has."""
    rows = [Door(row.method, path_of(row)) for row in node.server.operations if row.scope is not None]
    return [*rows, *(Door("GET", path) for path in (*DASHBOARD, *UNDECLARED))]


def disguises(path: str) -> Iterator[str]:
    """Yield other ways to write a path: by which somewhere a check by its text has been passed, or might be."""
    head, _, last = path.rpartition("/")
    first, rest = path[1], path[2:]
    yield path
    yield f"{path}/health"
    yield f"{path}/healthz"
    yield f"{path}?/healthz"
    yield f"{path}#/healthz"
    yield f"{path}/../../healthz"
    yield f"/healthz/..{path}"
    yield f"/healthz/%2e%2e{path}"
    yield f"/healthz/%2E%2E%2F{path[1:]}"
    yield f"/.{path}"
    yield f"/%2e{path}"
    yield f"/{path}"
    yield f"//healthz{path}"
    yield f"{head}//{last}"
    yield f"{path}/"
    yield f"{path}//"
    yield f"{path}."
    yield f"{path};x"
    yield f"{path};/healthz"
    yield f"/;x{path}"
    yield f"{path}%2fhealthz"
    yield f"{path}%00"
    yield f"{path}%20"
    yield f"{path}.json"
    yield path.upper()
    yield f"/%{ord(first):02x}{rest}"  # the first letter escaped
    yield f"{head}%2f{last}"
    yield path.replace("/", "\\")
    yield f"http://127.0.0.1{path}"
    yield f"http://healthz@127.0.0.1{path}"


async def ask(node: Node, method: str, target: str, headers: Mapping[str, str] | None = None, host: str = "127.0.0.1") -> Answered:
    """Send a request exactly as it is written: a client library would tidy it up."""
    address = node.server.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(address[0], int(address[2]))
    try:
        lines = [f"{method} {target} HTTP/1.1", f"host: {host}", "connection: close", "content-length: 0"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("utf-8"))
        await writer.drain()
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1]) if head else 0
        return Answered(status, head.decode("latin-1"), body.decode("utf-8", "replace"))
    finally:
        writer.close()
