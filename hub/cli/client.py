"""The REST API as the commands see it: one method a request, answers out of the envelope, refusals as `Stop`.

The only home of aiohttp's client in this package. Owns paths, quoting and the translation of failures; never prints and never retries.
Whatever the hub answers, or whatever else answers at its address, ends as a result or as a message with a cure.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from hub.cli.exits import Exit, Stop, Unreachable, of_status
from hub.cli.options import Target

_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=5)  # a busy hub answers late; an absent one must be known soon
_ENDLESS = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)  # the hub gives a sign of life every 15 seconds
_SHOWN_CHARS = 200  # of a body that is not the hub's


_WHICH = {401: "the hub's token", 403: "another token"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the envelope held. `info` tells where a list stands."""

    result: Any
    info: dict[str, Any] = field(default_factory=dict)


class Client:
    """One connection to a hub, for the length of one command."""

    def __init__(self, target: Target, resource: str = "workflows") -> None:
        self._target = target
        self._resource = resource
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        headers = {"accept": "application/json", "user-agent": "hub-cli"}
        if self._target.token:
            headers["authorization"] = f"Bearer {self._target.token}"
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def of(self, resource: str) -> Client:
        """Return the same connection for paths below another resource than `/workflows`."""
        other = Client(self._target, resource)
        other._session = self._session
        return other

    async def get(self, *path: str, **query: str | int | None) -> Answer:
        """Read a resource; query values that are None are left out."""
        return await self._request("GET", path, query=query)

    async def post(self, *path: str, body: str) -> Answer:
        """Send JSON text as it is."""
        return await self._request("POST", path, body=body)

    async def patch(self, *path: str, body: str) -> Answer:
        """Change a resource; the body is JSON text."""
        return await self._request("PATCH", path, body=body)

    async def follow(self, *path: str, **query: str | int | None) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a stream as they come, until it ends."""
        with self._told_failures():
            async with self._open_session().get(
                self._address(path, query),
                allow_redirects=False,
                timeout=_ENDLESS,
                headers={"accept": "text/event-stream"},
            ) as response:
                if response.content_type != "text/event-stream":
                    self._open(response, await response.read())
                    raise Stop(self._foreign(response, b""))
                async for line in _lines(response.content):
                    if line.startswith(b"data: "):
                        yield json.loads(line.removeprefix(b"data: "))

    async def delete(self, *path: str) -> Answer:
        """Delete a resource."""
        return await self._request("DELETE", path)

    async def _request(
        self, method: str, path: tuple[str, ...], *, query: dict[str, str | int | None] | None = None, body: str | None = None
    ) -> Answer:
        headers = {"content-type": "application/json"} if body is not None else {}
        data = None if body is None else body.encode()
        with self._told_failures():
            async with self._open_session().request(
                method, self._address(path, query or {}), data=data, headers=headers, allow_redirects=False
            ) as response:
                return self._open(response, await response.read())
        raise AssertionError  # a failure has been told above

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client as an async context manager")
        return self._session

    @contextmanager
    def _told_failures(self) -> Iterator[None]:
        """Turn what goes wrong between here and the hub into a message with a cure."""
        try:
            yield
        except aiohttp.InvalidURL as error:
            raise Stop(f'"{self._target.url}" is not an address of a hub: {error}; check --url (HUB_URL)', Exit.USAGE) from error
        except TimeoutError as error:
            raise Unreachable(self._unreachable("no answer in time")) from error
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(self._unreachable(_reason(error.os_error))) from error
        except aiohttp.ClientError as error:
            raise Unreachable(self._unreachable(str(error) or type(error).__name__)) from error

    def _address(self, path: tuple[str, ...], query: dict[str, str | int | None]) -> URL:
        segments = ("client", "v4", "accounts", self._target.account, self._resource, *path)
        base = URL(self._target.url).with_query(None).with_fragment(None)
        text = f"{str(base).rstrip('/')}/{'/'.join(quote(segment, safe='') for segment in segments)}"
        return URL(text, encoded=True).with_query({key: value for key, value in query.items() if value is not None})

    def _open(self, response: aiohttp.ClientResponse, raw: bytes) -> Answer:
        try:
            envelope = json.loads(raw)
        except ValueError:
            envelope = None
        if not isinstance(envelope, dict) or not isinstance(envelope.get("success"), bool):
            raise Stop(self._foreign(response, raw))
        if envelope["success"]:
            return Answer(result=envelope.get("result"), info=envelope.get("result_info") or {})
        errors = envelope.get("errors") or [{"message": f"HTTP {response.status}"}]
        message = "\n".join(_told(error) for error in errors)
        code = of_status(response.status)
        if code is Exit.DENIED:
            message += f"\ngive {_WHICH[response.status]} with --token or HUB_TOKEN"
        raise Stop(message, code)

    def _foreign(self, response: aiohttp.ClientResponse, raw: bytes) -> str:
        shown = raw[:_SHOWN_CHARS].decode(errors="replace").strip()
        return (
            f"{self._target.url} answered, but not as a hub does: HTTP {response.status}, {response.content_type}"
            f"{': ' + shown if shown else ''}\ncheck --url (HUB_URL)"
        )

    def _unreachable(self, reason: str) -> str:
        cure = "start it with `hub dev`, or give its address with --url (HUB_URL)"
        return f"cannot reach the hub at {self._target.url}: {reason[:1].lower()}{reason[1:]}; {cure}"


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield lines of any length: a value of a megabyte is one line."""
    rest = b""
    async for part in content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line


def _reason(error: OSError) -> str:
    """Say in words what the system calls a number; names that cannot be resolved have their own numbers."""
    return os.strerror(error.errno) if error.errno is not None and error.errno in errno.errorcode else error.strerror or str(error)


def _told(error: dict[str, Any]) -> str:
    message = str(error.get("message") or "the hub gave no reason")
    return f"{message} [code: {error['code']}]" if "code" in error else message
