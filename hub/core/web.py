"""The request and response of a fetch handler. Values around `HttpRequest` and `HttpReply`; no server in here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hub.core.codec import dump_plain, encode, plain
from hub.core.model import HttpReply, HttpRequest
from hub.core.outside import parse_json

HeaderPairs = Mapping[str, str] | Iterable[tuple[str, str]]


class Headers(Mapping[str, str]):
    """Header names without regard to case."""

    def __init__(self, headers: HeaderPairs | None = None) -> None:
        self._headers = {name.lower(): str(value) for name, value in dict(headers or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class Request:
    """An HTTP request: `method`, `url`, `path`, `query`, `headers`, and the body through `json`, `text` and `bytes`."""

    def __init__(self, raw: HttpRequest) -> None:
        self._raw = raw
        self.headers = Headers(raw.headers)

    @property
    def method(self) -> str:
        """The method, in capitals."""
        return self._raw.method

    @property
    def url(self) -> str:
        """The whole address, with its query."""
        return self._raw.url

    @property
    def path(self) -> str:
        """The path, beginning with a slash."""
        return self._raw.path

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last value."""
        return dict(self._raw.query)

    async def bytes(self) -> bytes:
        """Return the body as it came."""
        return self._raw.body

    async def text(self) -> str:
        """Return the body as text; bytes that are not UTF-8 are replaced."""
        return self._raw.body.decode("utf-8", "replace")

    async def json(self) -> Any:
        """Return the body parsed as JSON. Raises: Rejected with the place of the fault (answered as 400 when nobody catches it)."""
        return parse_json(self._raw.body)


class Response:
    """An HTTP response: a text or bytes body, a status and headers (a mapping, or pairs). `Response.json(value)` writes JSON."""

    def __init__(self, body: str | bytes | None = None, status: int = 200, *, headers: HeaderPairs | None = None) -> None:
        self.status = int(status)  # an HTTPStatus is one
        self.body = body.encode() if isinstance(body, str) else body or b""
        kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/octet-stream"
        self.headers = {**({"content-type": kind} if self.body else {}), **Headers(headers)}

    @staticmethod
    def json(value: Any, status: int = 200, *, headers: HeaderPairs | None = None) -> Response:
        """Return a response with a JSON body. Raises: TypeError or ValueError with the path of what JSON clients cannot be shown."""
        body = dump_plain(plain(encode(value, what="body")))
        return Response(body, status=status, headers={"content-type": "application/json", **Headers(headers)})

    def reply(self) -> HttpReply:
        """Return the value that the server sends."""
        return HttpReply(status=self.status, body=self.body, headers=dict(self.headers))
