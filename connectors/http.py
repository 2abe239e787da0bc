"""HTTP requests to outside services. Owns the pooled client, the deadline, the size cap and the verdict on an answer.

Never retries: the durable step does, and only one layer may. Hence an error says by its class whether trying again can help:
`HttpError` (it may) or `HttpRefused` (it cannot). No message contains a query string, credentials of an address, or a configured header.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, TypedDict, Unpack
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from hub.core import codec
from hub.core.clock import SystemClock
from hub.core.duration import format_duration, parse_duration
from hub.core.errors import ConfigError, NonRetryableError
from hub.core.outside import parse_json

_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_LONGEST_RETRY_AFTER = timedelta(days=1)  # a server's wish may not put a step to sleep for ever
_EXCERPT_CHARS = 300
_SECRET_HEADER = re.compile(r"authorization|cookie|token|secret|password|api-?key")
_SHORTEST_SECRET_CHARS = 6  # hiding shorter values would only garble the message
_SECRET_PAIR = re.compile(
    r"""((?:token|secret|passw(?:or)?d|api[-_]?key|authorization|signature)["']?\s*[:=]\s*["']?)(?:(?:bearer|basic)\s+)?[^\s"',;&}]+""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)


class HttpError(Exception):
    """The request failed in a way that another attempt may cure. `retry_after` is the server's wish, if it had one."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class HttpRefused(NonRetryableError):
    """The server answered that this request is wrong: the same request will fail again."""

    def __init__(self, message: str, *, status: int | None = None, excerpt: str = "") -> None:
        super().__init__(message, "HttpRefused")
        self.status = status
        self.excerpt = excerpt


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResult:
    """An answer. Header names are in lower case; the body is as it came, decompressed."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """Return the body parsed as JSON. Raises: Rejected with the place of the fault."""
        return parse_json(self.body)

    def text(self) -> str:
        """Return the body as text in the charset that the server named, else UTF-8."""
        charset = re.search(r"charset=[\"']?([\w.-]+)", self.headers.get("content-type", ""))
        try:
            return self.body.decode(charset[1] if charset else "utf-8", "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")


class Options(TypedDict, total=False):
    """What a request may carry beside its method and address."""

    params: Mapping[str, Any]  # query parameters; a list gives a repeated one, None leaves one out
    headers: Mapping[str, str]
    json: Any  # any value that the hub can store
    data: str | bytes | Mapping[str, str]  # a mapping is sent as a form
    timeout: str | int | float | timedelta  # plain numbers are milliseconds
    raise_for_status: bool  # False: every answer is a result, whatever its status


class HttpConfig(BaseModel):
    """The keys of a `[[connectors]]` table with `kind = "http"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str | None = Field(default=None, description="Address that relative addresses are appended to.")
    timeout: timedelta = Field(
        default=timedelta(seconds=30), description="Deadline of a whole request, from the connection to the last byte."
    )
    headers: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Sent with every request; with base_url only to that server. Never shown.",
    )
    max_response: int = Field(default=10_485_760, ge=1, description="Largest body of an answer in bytes, after decompression.")

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, url: str | None) -> str | None:
        if url is not None and (not _is_http(url) or urlsplit(url).query or urlsplit(url).fragment):
            raise ValueError(f"{shown_url(url)!r} is not an address such as https://api.example.com/v1, without a query")
        return url

    @field_validator("timeout", mode="before")
    @classmethod
    def _read_timeout(cls, value: Any) -> timedelta:
        return _positive(value)


class HttpConnector:
    """One pooled client for all workflows of this process. It keeps no cookies: instances share nothing through it."""

    Config: ClassVar[type] = HttpConfig

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the pool; connections are made as they are needed."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"user-agent": "trigger-hub"},
                timeout=aiohttp.ClientTimeout(total=None),  # `request` has the deadline, over redirects and the body too
            )

    async def close(self) -> None:
        """Close the pool and its connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def ping(self) -> None:
        """Return when the server at `base_url` answers, with any status. Raises: HttpError."""
        if self._config.base_url is not None:
            await self.request("HEAD", "", raise_for_status=False)

    async def get(self, url: str, **options: Unpack[Options]) -> HttpResult:
        """Send a GET request. See `request`."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Unpack[Options]) -> HttpResult:
        """Send a POST request. See `request`."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Unpack[Options]) -> HttpResult:
        """Send a PUT request. See `request`."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Unpack[Options]) -> HttpResult:
        """Send a PATCH request. See `request`."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Unpack[Options]) -> HttpResult:
        """Send a DELETE request. See `request`."""
        return await self.request("DELETE", url, **options)

    async def request(self, method: str, url: str, **options: Unpack[Options]) -> HttpResult:
        """Send a request and return the answer when its status is 2xx or 3xx. Redirects are followed for GET and HEAD.

        Raises: HttpError (try again: no connection, deadline, 408, 425, 429, 500, 502, 503, 504) or HttpRefused (any other 4xx or 5xx,
        a request that cannot be sent, an answer above the size cap).
        """
        method = method.upper()
        place = f"{method} {shown_url(url)}"
        try:
            deadline = _positive(options["timeout"]) if "timeout" in options else self._config.timeout
        except ValueError as error:
            raise HttpRefused(f"{place}: {error}") from None
        try:
            outgoing = self._prepare(method, url, options)
            place = f"{method} {shown_url(outgoing.url)}"
            async with asyncio.timeout(deadline.total_seconds()):
                result = await self._send(outgoing, place)
        except TimeoutError:
            raise HttpError(f"{place}: no complete answer within {format_duration(deadline)}") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise HttpError(f"{place}: {_cause(error)}") from None
        except (aiohttp.ClientError, ValueError):  # their messages quote addresses and headers
            raise HttpRefused(f"{place}: this is not a request that can be sent; check the address and the headers") from None
        if options.get("raise_for_status", True):
            _judge(result, place, outgoing.secrets)
        return result

    def _prepare(self, method: str, url: str, options: Options) -> _Outgoing:
        base = self._config.base_url
        full = url if _is_http(url) or base is None else _append(base, url)
        configured = {name.lower(): value.get_secret_value() for name, value in self._config.headers.items()}
        own = {name.lower(): value for name, value in options.get("headers", {}).items()}
        headers = (configured if base is None or _origin(full) == _origin(base) else {}) | own
        secrets = [*configured.values(), *(value for name, value in own.items() if _SECRET_HEADER.search(name))]
        data: Any = options.get("data")
        if "json" in options:
            data = _json_body(options["json"])
            headers.setdefault("content-type", "application/json")
        params = _query(options.get("params", {}))
        return _Outgoing(method, full, params, headers, data, tuple(secrets))

    async def _send(self, outgoing: _Outgoing, place: str) -> HttpResult:
        """Send and follow redirects. What was meant for one server is not handed on to another."""
        url, params, headers = outgoing.url, outgoing.params, outgoing.headers
        for _ in range(_MAX_REDIRECTS + 1):
            result = await self._exchange(outgoing, url, params, headers)
            target = result.headers.get("location")
            if result.status not in _REDIRECTS or target is None or outgoing.method not in ("GET", "HEAD"):
                return result
            target = urljoin(url, target)
            if _origin(target) != _origin(url):
                headers = {}
            url, params = target, []
        raise HttpRefused(f"{place}: more than {_MAX_REDIRECTS} redirects")

    async def _exchange(self, outgoing: _Outgoing, url: str, params: list[tuple[str, str]], headers: dict[str, str]) -> HttpResult:
        if self._session is None:
            raise ConfigError("the http connector is not open: use it inside a running hub, or call open() first")
        limit = self._config.max_response
        async with self._session.request(
            outgoing.method, url, params=params, headers=headers, data=outgoing.data, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > limit:
                    response.close()  # do not read the rest
                    place = f"{outgoing.method} {shown_url(url)}"
                    raise HttpRefused(f"{place}: the answer is larger than {limit} bytes (max_response)", status=response.status)
            names = {name.lower(): value for name, value in response.headers.items()}
            return HttpResult(status=response.status, headers=names, body=bytes(body))


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """A request that is ready to be sent. `secrets` must not appear in any message."""

    method: str
    url: str
    params: list[tuple[str, str]]
    headers: dict[str, str]
    data: Any
    secrets: tuple[str, ...]


# ---- preparing


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _append(base: str, path: str) -> str:
    return f"{base.rstrip('/')}/{path.lstrip('/')}" if path else base


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _positive(value: Any) -> timedelta:
    duration = parse_duration(value, what="timeout")
    if not duration:
        raise ValueError("timeout: zero leaves no time for an answer")
    return duration


def _query(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, str(item).lower() if isinstance(item, bool) else str(item))
        for name, value in params.items()
        for item in (value if isinstance(value, list | tuple) else [value])
        if item is not None
    ]


def _json_body(value: Any) -> bytes:
    """Write a value as the hub's own API shows it: times as ISO text, decimals as text, and so on."""
    try:
        return codec.dump_plain(codec.plain(codec.encode(value, what="json")))
    except (TypeError, ValueError) as error:
        raise HttpRefused(f"the request's body cannot be written: {error}") from None


# ---- judging


def _judge(result: HttpResult, place: str, secrets: tuple[str, ...]) -> None:
    if result.status < 400:
        return
    excerpt = _excerpt(result, secrets)
    message = f"{place} answered {result.status}{': ' if excerpt else ''}{excerpt}"
    if result.status in _RETRYABLE:
        raise HttpError(message, status=result.status, retry_after=read_retry_after(result.headers))
    raise HttpRefused(message, status=result.status, excerpt=excerpt)


def read_retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Return how long a server asks to wait, from seconds or a date, at most a day; None = it did not say."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(timedelta(seconds=int(value[:9])), _LONGEST_RETRY_AFTER)
    moment = _read_date(value)
    if moment is None:
        return None
    now = _read_date(headers.get("date", "")) or SystemClock().now()  # both by the server's clock, where it tells the time
    return min(max(moment - now, timedelta()), _LONGEST_RETRY_AFTER)


def _read_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _excerpt(result: HttpResult, secrets: tuple[str, ...]) -> str:
    """Return the beginning of the body for a message, without what looks like a secret."""
    text = result.body[: _EXCERPT_CHARS * 10].decode("utf-8", "replace")
    for secret in secrets:
        for part in (secret, secret.rpartition(" ")[2]):  # "Bearer abc", and "abc" alone
            if len(part) >= _SHORTEST_SECRET_CHARS:
                text = text.replace(part, "***")
    text = _BEARER.sub(r"\1 ***", _SECRET_PAIR.sub(r"\1***", text))
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= _EXCERPT_CHARS else text[: _EXCERPT_CHARS - 1] + "…"


def _cause(error: aiohttp.ClientError) -> str:
    """Say what happened to a connection, without the address that the library's message would repeat."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "the server's certificate is not valid"
    if isinstance(error, OSError) and error.errno is not None:
        # positive numbers are the system's own; a name that cannot be resolved has a negative one and a text of its own
        return f"no connection: {os.strerror(error.errno) if error.errno > 0 else error.strerror}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer broke off before its end"
    return f"the exchange failed ({type(error).__name__})"


def shown_url(url: str) -> str:
    """Return an address as messages may show it: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return "(an address that cannot be read)"
