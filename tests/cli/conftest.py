"""Fixtures of the command line's tests."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

_RECORDED = Path(__file__).parent / "recorded"
_ROOT = "/client/v4/accounts/local/workflows"


def _absolute(path: str) -> str:
    """Return a path as it is sent: what does not say otherwise lies below `/workflows`."""
    return path if path.startswith("/client/") else _ROOT + path


@dataclass(slots=True)
class Heard:
    """One request that the server got."""

    line: str
    body: str
    headers: dict[str, str]


@dataclass(slots=True)
class RecordedHub:
    """A web server that speaks recorded answers of the API: what the command sends, and what it makes of what comes back."""

    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    answers: dict[str, tuple[int, str, str]] = field(default_factory=dict)  # status, type and text of the body

    @property
    def env(self) -> dict[str, str]:
        """The environment in which `hub` finds this server."""
        return {"HUB_URL": self.url}

    @property
    def lines(self) -> list[str]:
        """Method and path of all requests, without what is in front of `/workflows`."""
        return [heard.line.replace(_ROOT, "") for heard in self.heard]

    def answer(self, method: str, path: str, result: Any, **info: Any) -> None:
        """Answer a request below `/workflows` with a result."""
        body = {"success": True, "errors": [], "messages": [], "result": result, **({"result_info": info} if info else {})}
        self.answers[f"{method} {_absolute(path)}"] = (200, "application/json", json.dumps(body))

    def refuse(self, method: str, path: str, status: int, code: int, message: str) -> None:
        """Answer a request with an error."""
        body = {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}
        self.answers[f"{method} {_absolute(path)}"] = (status, "application/json", json.dumps(body))

    def send(self, method: str, path: str, text: str, kind: str = "text/html") -> None:
        """Answer a request with a page that is no hub's, or a text of another kind."""
        self.answers[f"{method} {_absolute(path)}"] = (200, kind, text)

    async def handle(self, request: web.Request) -> web.Response:
        line = f"{request.method} {request.raw_path}"
        self.heard.append(Heard(line=line, body=(await request.text()), headers=dict(request.headers)))
        status, kind, text = self.answers.get(line, (500, "text/plain", f"nothing is recorded for {line}"))
        return web.Response(status=status, content_type=kind, text=text)


@pytest.fixture
async def recorded_hub() -> AsyncIterator[RecordedHub]:
    """Start the server on a free port."""
    hub = RecordedHub()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hub.handle)
    async with TestServer(app) as server:
        hub.url = str(server.make_url("")).rstrip("/")
        yield hub


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the viewer into UTC, wherever the tests run."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def recorded(name: str) -> Any:
    """Read a recorded result."""
    return json.loads((_RECORDED / f"{name}.json").read_text(encoding="utf-8"))
